"""Sampling of a token from logits in numpy arrays. No torch."""

import numpy as np

from starling_server.backends.llamacpp.bindings import Rows
from starling_server.engine.protocols import COLDEST, Likely, Sampler, Sampling


def greedy(logits: Rows) -> int:
    """The most likely id; the first one in a tie."""
    return int(logits.argmax())


def sampler(sampling: Sampling) -> Sampler:
    """A sampler over logits of shape (vocab,)."""
    if sampling.temperature < COLDEST:
        return greedy
    generator = np.random.default_rng(sampling.seed)  # None: a random seed

    def draw(logits: Rows) -> int:
        scaled = logits.astype(np.float64) / sampling.temperature
        weights = np.exp(scaled - scaled.max())
        weights /= weights.sum()
        if sampling.top_p < 1:
            weights = nucleus(weights, sampling.top_p)
        return int(generator.choice(weights.size, p=weights / weights.sum()))

    return draw


def likelihoods(logits: Rows, token: int, most: int) -> Likely:
    """See `protocols.Runner.likelihoods`; logits of shape (vocab,)."""
    scaled = logits.astype(np.float64) - logits.max()
    nats = scaled - np.log(np.exp(scaled).sum())
    best = np.argsort(-nats, kind="stable")[:most]
    return Likely(token, float(nats[token]), [(int(each), float(nats[each])) for each in best])


def nucleus(weights: Rows, share: float) -> Rows:
    """Top-p filter: `weights`, shape (vocab,), zeroed outside the likeliest ids that together reach `share`."""
    ids = np.argsort(-weights, kind="stable")
    ordered = weights[ids]
    kept = np.zeros_like(weights)
    inside = np.cumsum(ordered) - ordered < share  # the id that crosses the share is kept
    kept[ids[inside]] = ordered[inside]
    return kept
