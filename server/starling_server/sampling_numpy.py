"""Logits to a token, for runners whose logits are numpy arrays. No torch."""

import numpy as np

from starling_server.llama import Rows
from starling_server.runner import Sampler


def greedy(logits: Rows) -> int:
    """The most likely id, the first of several."""
    return int(logits.argmax())


def sampler(temperature: float, seed: int | None = None) -> Sampler:
    """A sampler at `temperature`; 0 is greedy. The same seed gives the same draws."""
    if temperature == 0:
        return greedy
    generator = np.random.default_rng(seed)

    def draw(logits: Rows) -> int:
        scaled = logits.astype(np.float64) / temperature
        weights = np.exp(scaled - scaled.max())
        return int(generator.choice(weights.size, p=weights / weights.sum()))

    return draw
