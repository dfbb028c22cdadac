"""Logits to a token."""

import torch

from starling_server.engine.protocols import COLDEST, Likely, Sampler, Sampling


def greedy(logits: torch.Tensor) -> int:
    """The most likely id, as `transformers` picks it in greedy search."""
    return int(logits.argmax())


def sampler(sampling: Sampling) -> Sampler:
    """A sampler over logits of shape (vocab,)."""
    if sampling.temperature < COLDEST:
        return greedy
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()  # a new generator has the same seed each time
    else:
        generator.manual_seed(sampling.seed)

    def draw(logits: torch.Tensor) -> int:
        weights = torch.softmax(logits.float().cpu() / sampling.temperature, dim=-1)
        if sampling.top_p < 1:
            weights = nucleus(weights, sampling.top_p)
        return int(torch.multinomial(weights, 1, generator=generator))

    return draw


def likelihoods(logits: torch.Tensor, token: int, most: int) -> Likely:
    """As `protocols.Runner` says; logits of shape (vocab,)."""
    nats = torch.log_softmax(logits.float().cpu(), dim=-1)
    best = nats.topk(most)
    return Likely(token, float(nats[token]), list(zip(best.indices.tolist(), best.values.tolist(), strict=True)))


def nucleus(weights: torch.Tensor, share: float) -> torch.Tensor:
    """`weights`, shape (vocab,), with zeros for all ids beyond the likeliest that make up `share` together."""
    ordered, ids = weights.sort(descending=True)
    beyond = ordered.cumsum(-1) - ordered >= share  # the one that crosses the share stays
    beyond[0] = False  # whatever a share of next to nothing is in this type
    ordered[beyond] = 0.0
    return torch.zeros_like(weights).scatter_(0, ids, ordered)
