"""Sampling of a token from logits."""

import torch

from starling_server.engine.protocols import COLDEST, Likely, Sampler, Sampling


def greedy(logits: torch.Tensor) -> int:
    """The most likely id, as in the greedy search of `transformers`."""
    return int(logits.argmax())


def sampler(sampling: Sampling) -> Sampler:
    """A sampler over logits of shape (vocab,)."""
    if sampling.temperature < COLDEST:
        return greedy
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()  # random; a new generator has a fixed seed
    else:
        generator.manual_seed(sampling.seed)

    def draw(logits: torch.Tensor) -> int:
        weights = torch.softmax(logits.float().cpu() / sampling.temperature, dim=-1)
        if sampling.top_p < 1:
            weights = nucleus(weights, sampling.top_p)
        return int(torch.multinomial(weights, 1, generator=generator))

    return draw


def likelihoods(logits: torch.Tensor, token: int, most: int) -> Likely:
    """See `protocols.Runner.likelihoods`; logits of shape (vocab,)."""
    nats = torch.log_softmax(logits.float().cpu(), dim=-1)
    best = nats.topk(most)
    return Likely(token, float(nats[token]), list(zip(best.indices.tolist(), best.values.tolist(), strict=True)))


def nucleus(weights: torch.Tensor, share: float) -> torch.Tensor:
    """Top-p filter: `weights`, shape (vocab,), zeroed outside the likeliest ids that together reach `share`."""
    ordered, ids = weights.sort(descending=True)
    beyond = ordered.cumsum(-1) - ordered >= share  # the id that crosses the share is kept
    beyond[0] = False  # keep the likeliest even if a tiny share rounds to 0
    ordered[beyond] = 0.0
    return torch.zeros_like(weights).scatter_(0, ids, ordered)
