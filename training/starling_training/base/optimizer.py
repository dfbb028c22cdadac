"""Optimisers and their learning rate schedule: Muon for the matrices in the blocks, AdamW for all other parameters.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) orthogonalises the momentum. `torch.optim.Muon`
computes in bfloat16 on every machine: a CPU that emulates bfloat16 took 24 seconds per step, float32 took one. This
implementation computes in a type that is fast on the machine.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from starling_server.backends.torch.loading import compute_dtype

MOMENTUM, ITERATIONS = 0.95, 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic Newton-Schulz iteration, chosen by Jordan for the steepest slope at zero."""


class Muon(Optimizer):
    """Muon for matrices. Each update has a spectral norm near the group's rate, more where the matrix has more rows."""

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
    """`matrix` with its singular values moved to about one (0.7 to 1.2); the shape (rows, columns) is unchanged."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    result = (matrix.T if tall else matrix).to(compute_dtype(matrix.device))
    result = result / result.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = result @ result.T
        result = torch.addmm(result, torch.addmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return (result.T if tall else result).to(matrix.dtype)


MUON_RATE, MUON_DECAY = 0.015, 0.01
"""Spectral norm of one update (three quarters of Keller Jordan's default, see docs/experiments.md) and weight decay."""
ADAM_RATE, ADAM_BETAS = 5e-3, (0.9, 0.95)
WARMUP, DECAY = 0.01, 0.3
"""Shares of a run with a rising and with a falling rate. The rate is constant in between, so a run can be extended
until the decay begins (Hu et al. 2024, arXiv 2404.06395, and Hägele et al. 2024, arXiv 2405.18392).
"""


@dataclass(frozen=True, slots=True)
class Optimisers:
    """Both optimisers, stepped together."""

    muon: Optimizer
    adam: Optimizer

    def step(self, factor: float) -> None:
        """Step at `factor` times the peak rates and clear the gradients."""
        for optimiser in (self.muon, self.adam):
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, object]:
        """The state that a resumed run needs."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """Restore the state from `state_dict`."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def optimisers(model: nn.Module, muon_rate: float, adam_rate: float) -> Optimisers:
    """Assign matrices in the blocks to Muon (Jordan et al. 2024), and embeddings, norms and biases to AdamW."""
    named = dict(model.named_parameters())
    inner = [weight for name, weight in named.items() if ".h." in name and weight.ndim == 2]
    chosen = {id(weight) for weight in inner}
    outer = [weight for weight in named.values() if id(weight) not in chosen]
    muon = Muon([{"params": inner, "peak": muon_rate}], lr=muon_rate, weight_decay=MUON_DECAY)
    adam = AdamW([{"params": outer, "peak": adam_rate}], lr=adam_rate, betas=ADAM_BETAS, weight_decay=0.0)
    return Optimisers(muon, adam)


def factor(progress: float) -> float:
    """Share of the peak rate at `progress` from 0 to 1: linear warm-up, plateau, linear decay to 0."""
    return max(0.0, min(1.0, progress / WARMUP + 0.01, (1 - progress) / DECAY))


def clip(model: nn.Module, most: float = 1.0) -> float:
    """Scale gradients down to a max norm of `most`; returns the norm before scaling."""
    return float(torch.nn.utils.clip_grad_norm_(model.parameters(), most))
