"""Files that the base cannot read: data in the clothes of code."""

from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import cross_entropy

from starling_server.backends.torch.loading import Loaded
from starling_training.sources.clean import Document

TOKENS = 512
"""Of each file, from its middle: heads are licences and imports."""
LEAST = 32
"""Tokens of a file whose loss says something."""


@torch.inference_mode()
def losses(loaded: Loaded, documents: Sequence[Document], told: Callable[[int], object]) -> list[float]:
    """What the base loses on each document, in nats per token, 0 on very short ones; `told` the number done."""
    made = list[float]()
    for document in documents:
        ids = loaded.tokenizer.encode(document.text)
        start = max(0, (len(ids) - TOKENS) // 2)
        part = [loaded.fim.end, *ids[start : start + TOKENS]]
        made.append(_loss(loaded, part) if len(part) > LEAST else 0.0)
        told(len(made))
    return made


def _loss(loaded: Loaded, ids: list[int]) -> float:
    row = torch.tensor([ids], device=loaded.device)
    logits = loaded.model(input_ids=row, use_cache=False).logits
    return cross_entropy(logits[0, :-1].float(), row[0, 1:]).item()
