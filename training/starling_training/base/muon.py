"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum, made orthogonal.

As `torch.optim.Muon`, which computes in bfloat16 whatever the machine: a CPU that emulates it took 24 seconds a step
where float32 takes one. This one computes in the type that is fast here.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from starling_server.loading import compute_dtype

MOMENTUM, ITERATIONS = 0.95, 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration; chosen by Jordan for the steepest slope at zero."""


class Muon(Optimizer):
    """For matrices; the update of each has a spectral norm near the group's rate, more where it has more rows."""

    def __init__(self, params: list[dict[str, Any]], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - float | None
        """One step with Nesterov momentum and decoupled weight decay."""
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                momentum = state.setdefault("momentum_buffer", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - MOMENTUM)
                update = orthogonal(weight.grad.lerp(momentum, MOMENTUM))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """`matrix` with its singular values moved to about one (0.7 to 1.2), shape (rows, columns) as before."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    result = (matrix.T if tall else matrix).to(compute_dtype(matrix.device))
    result = result / result.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = result @ result.T
        result = torch.addmm(result, torch.addmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return (result.T if tall else result).to(matrix.dtype)
