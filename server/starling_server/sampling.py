"""Logits to a token."""

import torch

from starling_server.runner import Sampler


def greedy(logits: torch.Tensor) -> int:
    """The most likely id, as `transformers` picks it in greedy search."""
    return int(logits.argmax())


def sampler(temperature: float, seed: int | None = None) -> Sampler:
    """A sampler at `temperature`; 0 is greedy. The same seed gives the same draws."""
    if temperature == 0:
        return greedy
    generator = torch.Generator()
    if seed is not None:
        generator.manual_seed(seed)

    def draw(logits: torch.Tensor) -> int:
        weights = torch.softmax(logits.float().cpu() / temperature, dim=-1)
        return int(torch.multinomial(weights, 1, generator=generator))

    return draw
