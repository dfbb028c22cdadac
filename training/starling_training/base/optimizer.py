"""Muon for the blocks' matrices, AdamW for the rest, and the rates of both over a run.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) is momentum made orthogonal. `torch.optim.Muon`
computes in bfloat16 whatever the machine: a CPU that emulates it took 24 seconds a step where float32 takes one. This
one computes in the type that is fast here.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from starling_server.backends.torch.loading import compute_dtype

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


MUON_RATE, MUON_DECAY = 0.015, 0.01
"""A step's update has this spectral norm; three quarters of Keller Jordan's default (docs/experiments.md)."""
ADAM_RATE, ADAM_BETAS = 5e-3, (0.9, 0.95)
WARMUP, DECAY = 0.01, 0.3
"""Shares of a run with a rising and with a falling rate; in between it is flat, so a run can be made longer until the
fall begins (Hu et al. 2024, arXiv 2404.06395, and Hägele et al. 2024, arXiv 2405.18392)."""


@dataclass(frozen=True, slots=True)
class Optimisers:
    """Both, stepped as one."""

    muon: Optimizer
    adam: Optimizer

    def step(self, factor: float) -> None:
        """One step at `factor` times the peak rates, and gradients cleared."""
        for optimiser in (self.muon, self.adam):
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, object]:
        """Everything that a resumed run needs."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """Take over what `state_dict` gave."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def optimisers(model: nn.Module, muon_rate: float, adam_rate: float) -> Optimisers:
    """Matrices inside the blocks go to Muon (Jordan et al. 2024); embeddings, norms and biases to AdamW."""
    named = dict(model.named_parameters())
    inner = [weight for name, weight in named.items() if ".h." in name and weight.ndim == 2]
    chosen = {id(weight) for weight in inner}
    outer = [weight for weight in named.values() if id(weight) not in chosen]
    muon = Muon([{"params": inner, "peak": muon_rate}], lr=muon_rate, weight_decay=MUON_DECAY)
    adam = AdamW([{"params": outer, "peak": adam_rate}], lr=adam_rate, betas=ADAM_BETAS, weight_decay=0.0)
    return Optimisers(muon, adam)


def factor(progress: float) -> float:
    """Share of the peak rate at `progress` from 0 to 1: a linear rise, a plateau, a linear fall to 0."""
    return max(0.0, min(1.0, progress / WARMUP + 0.01, (1 - progress) / DECAY))


def clip(model: nn.Module, most: float = 1.0) -> float:
    """Scale gradients down to a norm of `most`; the norm before."""
    return float(torch.nn.utils.clip_grad_norm_(model.parameters(), most))
