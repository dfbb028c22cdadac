"""Logits to a token, for runners whose logits are numpy arrays. No torch."""

import numpy as np

from starling_server.backends.llamacpp.bindings import Rows
from starling_server.engine.protocols import COLDEST, Likely, Sampler, Sampling


def greedy(logits: Rows) -> int:
    """The most likely id, the first of several."""
    return int(logits.argmax())


def sampler(sampling: Sampling) -> Sampler:
    """A sampler over logits of shape (vocab,)."""
    if sampling.temperature < COLDEST:
        return greedy
    generator = np.random.default_rng(sampling.seed)  # without a seed a fresh one

    def draw(logits: Rows) -> int:
        scaled = logits.astype(np.float64) / sampling.temperature
        weights = np.exp(scaled - scaled.max())
        weights /= weights.sum()
        if sampling.top_p < 1:
            weights = nucleus(weights, sampling.top_p)
        return int(generator.choice(weights.size, p=weights / weights.sum()))

    return draw


def likelihoods(logits: Rows, token: int, most: int) -> Likely:
    """As `protocols.Runner` says; logits of shape (vocab,)."""
    scaled = logits.astype(np.float64) - logits.max()
    nats = scaled - np.log(np.exp(scaled).sum())
    best = np.argsort(-nats, kind="stable")[:most]
    return Likely(token, float(nats[token]), [(int(each), float(nats[each])) for each in best])


def nucleus(weights: Rows, share: float) -> Rows:
    """`weights`, shape (vocab,), with zeros for all ids beyond the likeliest that make up `share` together."""
    ids = np.argsort(-weights, kind="stable")
    ordered = weights[ids]
    kept = np.zeros_like(weights)
    inside = np.cumsum(ordered) - ordered < share  # the one that crosses the share stays
    kept[ids[inside]] = ordered[inside]
    return kept
