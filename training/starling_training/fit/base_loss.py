"""The base's loss on each source file, which tells data dumps from code."""

from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import cross_entropy

from starling_server.backends.torch.loading import Loaded
from starling_training.sources.clean import Document

LOSS_TOKENS = 512
"""Tokens from the middle of each file for the data dump filter; the start of a file holds licences and imports."""
MIN_LOSS_TOKENS = 32
"""The loss on fewer tokens is not informative."""


@torch.inference_mode()
def losses(loaded: Loaded, documents: Sequence[Document], done: Callable[[int], object]) -> list[float]:
    """The base's loss on each document in nats per token; 0 for very short documents.

    A high loss indicates data that only looks like code. `done` is called with the number of documents processed.
    """
    made = list[float]()
    for document in documents:
        ids = loaded.tokenizer.encode(document.text)
        start = max(0, (len(ids) - LOSS_TOKENS) // 2)
        begin = loaded.fim.end if loaded.fim.begin is None else loaded.fim.begin
        part = [begin, *ids[start : start + LOSS_TOKENS]]
        made.append(_loss(loaded, part) if len(part) > MIN_LOSS_TOKENS else 0.0)
        done(len(made))
    return made


def _loss(loaded: Loaded, ids: list[int]) -> float:
    row = torch.tensor([ids], device=loaded.device)
    logits = loaded.model(input_ids=row, use_cache=False).logits
    return cross_entropy(logits[0, :-1].float(), row[0, 1:]).item()
