"""Which files are held out. Always whole files: a random line's neighbours would give it away."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from starling_training.corpus import Document

MIN_HELD_OUT = 2
OVERSHOOT = 2
"""A file that would take the held-out text above this many times its share is left to training."""


@dataclass(frozen=True, slots=True)
class Split:
    """Documents for training and for judging."""

    train: tuple[Document, ...]
    held_out: tuple[Document, ...]


def split(documents: Sequence[Document], share: float, seed: int) -> Split:
    """Hold out about `share` of the characters, two files at least.

    Which ones depends on `seed` and on each path, so that files which come or go leave the others where they are.
    """
    wanted = share * sum(len(document.text) for document in documents)
    ranked = sorted(documents, key=lambda document: _rank(document, seed))
    held: set[str] = set()
    chars = 0
    for document in ranked:
        if chars < wanted and chars + len(document.text) <= OVERSHOOT * wanted:
            held.add(document.path)
            chars += len(document.text)
    shortest = sorted((document for document in ranked if document.path not in held), key=lambda d: len(d.text))
    held.update(document.path for document in shortest[: max(0, MIN_HELD_OUT - len(held))])
    return Split(
        tuple(document for document in documents if document.path not in held),
        tuple(document for document in documents if document.path in held),
    )


def _rank(document: Document, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{document.path}".encode()).hexdigest()
