"""Logits to a token, for runners whose logits are numpy arrays. No torch."""

import numpy as np

from starling_server.backends.llamacpp.bindings import Rows
from starling_server.engine.protocols import COLDEST, Sampler


def greedy(logits: Rows) -> int:
    """The most likely id, the first of several."""
    return int(logits.argmax())


def sampler(temperature: float, seed: int | None = None, top_p: float = 1.0) -> Sampler:
    """A sampler at `temperature`; 0 is greedy. The same seed gives the same draws. `top_p`: see `sampling`."""
    if temperature < COLDEST:
        return greedy
    generator = np.random.default_rng(seed)

    def draw(logits: Rows) -> int:
        scaled = logits.astype(np.float64) / temperature
        weights = np.exp(scaled - scaled.max())
        weights /= weights.sum()
        if top_p < 1:
            weights = nucleus(weights, top_p)
        return int(generator.choice(weights.size, p=weights / weights.sum()))

    return draw


def likelihoods(logits: Rows, token: int, most: int) -> tuple[float, list[tuple[int, float]]]:
    """See `runner.Likelihoods`; logits of shape (vocab,), before any temperature."""
    scaled = logits.astype(np.float64) - logits.max()
    nats = scaled - np.log(np.exp(scaled).sum())
    return float(nats[token]), [(int(best), float(nats[best])) for best in np.argsort(-nats, kind="stable")[:most]]


def nucleus(weights: Rows, share: float) -> Rows:
    """`weights`, shape (vocab,), with zeros for all ids beyond the likeliest that make up `share` together."""
    ids = np.argsort(-weights, kind="stable")
    ordered = weights[ids]
    kept = np.zeros_like(weights)
    inside = np.cumsum(ordered) - ordered < share  # the one that crosses the share stays
    kept[ids[inside]] = ordered[inside]
    return kept
