"""Logits to a token."""

import torch

from starling_server.engine.protocols import COLDEST, Sampler


def greedy(logits: torch.Tensor) -> int:
    """The most likely id, as `transformers` picks it in greedy search."""
    return int(logits.argmax())


def sampler(temperature: float, seed: int | None = None, top_p: float = 1.0) -> Sampler:
    """A sampler at `temperature`; 0 is greedy. The same seed gives the same draws.

    Below 1 `top_p` leaves the likeliest ids that make up that share together (Holtzman et al. 2020).
    """
    if temperature < COLDEST:
        return greedy
    generator = torch.Generator()
    if seed is not None:
        generator.manual_seed(seed)

    def draw(logits: torch.Tensor) -> int:
        weights = torch.softmax(logits.float().cpu() / temperature, dim=-1)
        if top_p < 1:
            weights = nucleus(weights, top_p)
        return int(torch.multinomial(weights, 1, generator=generator))

    return draw


def likelihoods(logits: torch.Tensor, token: int, most: int) -> tuple[float, list[tuple[int, float]]]:
    """See `runner.Likelihoods`; logits of shape (vocab,), before any temperature."""
    nats = torch.log_softmax(logits.float().cpu(), dim=-1)
    best = nats.topk(most)
    return float(nats[token]), list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def nucleus(weights: torch.Tensor, share: float) -> torch.Tensor:
    """`weights`, shape (vocab,), with zeros for all ids beyond the likeliest that make up `share` together."""
    ordered, ids = weights.sort(descending=True)
    beyond = ordered.cumsum(-1) - ordered >= share  # the one that crosses the share stays
    beyond[0] = False  # whatever a share of next to nothing is in this type
    ordered[beyond] = 0.0
    return torch.zeros_like(weights).scatter_(0, ids, ordered)
