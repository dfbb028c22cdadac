"""8-bit weights for a CPU: one scale a row, multiplied by torch's own kernel.

A token's forward reads every weight once, and on a CPU that is what it waits for: a quarter of float32's bytes take a
third of its time (docs/experiments.md). The kernel takes rows in bfloat16 and gives such results; in between
it computes in float32, so a processor needs no arithmetic in bfloat16 for it.
"""

from typing import cast

import torch
from torch import Tensor, nn

KERNEL = torch.ops.aten._weight_int8pack_mm
MOST = 127
"""Symmetric: no weight becomes -128."""
TINY = torch.finfo(torch.bfloat16).tiny
"""Scale of a row of zeros."""


class Int8Linear(nn.Module):
    """A linear layer's weights, each row rounded to 255 steps between its largest magnitude's negative and itself."""

    weight: Tensor
    """(outputs, inputs), int8."""
    scale: Tensor
    """(outputs,), bfloat16, as the kernel wants it; weights are divided by it after its rounding."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        exact = linear.weight.detach().float()
        scale = (exact.abs().amax(1) / MOST).clamp(min=TINY).bfloat16()
        steps = (exact / scale.float().unsqueeze(1)).round_().clamp_(-MOST, MOST)
        self.register_buffer("weight", steps.to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias: nn.Parameter | None = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., inputs) to (..., outputs), in the type of `x`."""
        rows = x.reshape(-1, self.in_features).bfloat16()
        out = KERNEL(rows, self.weight, self.scale).to(x.dtype)
        if self.bias is not None:
            out += self.bias
        return out.view(*x.shape[:-1], self.out_features)


def quantise(model: nn.Module) -> None:
    """Replace every linear layer of `model`, in place, the head too; what is left becomes float32.

    One after the other, so that little more than the weights as they are stored is in memory at any time.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for name in names:  # a list of the layers themselves would keep them all
        model.set_submodule(name, Int8Linear(cast(nn.Linear, model.get_submodule(name))))
    for parameter in model.parameters():
        parameter.data = parameter.data.float()
