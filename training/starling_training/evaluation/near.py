"""How close a held-out document comes to what an adapter learnt from: memory and skill are told apart by it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from starling_training import dedup
from starling_training.clean import Document

LABELS = ("unlike what was learnt", "somewhat like it", "close to it")
BORDERS = (0.05, 0.2)
"""Estimated Jaccard similarity of word 5-grams to the closest learnt file; from `dedup.THRESHOLD` on files are left out
of training as near duplicates."""


def label(document: Document, learnt: NDArray[np.uint32]) -> str:
    """One of `LABELS`; `learnt` holds signatures, (documents, permutations). Empty where nothing is known of them."""
    if not len(learnt):
        return ""
    closest = float((learnt == dedup.signature(document.text)).mean(1).max())
    return LABELS[sum(closest >= border for border in BORDERS)]


def labels(documents: Sequence[Document], learnt: NDArray[np.uint32]) -> dict[str, str]:
    """Each document's label, by its hash."""
    return {document.sha256: label(document, learnt) for document in documents}
