"""8-bit weights for CPUs: one scale per row, multiplied by torch's own kernel.

A token's forward reads every weight once, and on a CPU it is bound by that read: a quarter of float32's bytes takes a
third of its time (docs/experiments.md). The kernel's inputs and outputs are bfloat16; it computes in float32, so the
processor needs no bfloat16 arithmetic.
"""

from typing import cast

import torch
from torch import Tensor, nn

KERNEL = torch.ops.aten._weight_int8pack_mm
MOST = 127
"""Symmetric range: -128 is not used."""
TINY = torch.finfo(torch.bfloat16).tiny
"""Min scale, used for a row of zeros."""


class Int8Linear(nn.Module):
    """A linear layer with int8 weights: each row is rounded to 255 steps from minus to plus its largest magnitude."""

    weight: Tensor
    """(outputs, inputs), int8."""
    scale: Tensor
    """(outputs,), bfloat16 as the kernel requires; weights are divided by the rounded scale."""

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
    """Replace every linear layer of `model` in place, including the head; the other parameters become float32.

    Layers are converted one by one, so peak memory is little more than the weights as stored.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for name in names:  # names, since references to the layers would keep them all in memory
        model.set_submodule(name, Int8Linear(cast(nn.Linear, model.get_submodule(name))))
    for parameter in model.parameters():
        parameter.data = parameter.data.float()
