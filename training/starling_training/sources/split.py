"""Choice of held-out files: the most recently changed ones with a history, else whole folders, else whole files.

Random lines are never held out: their neighbours, or a near copy of the file in the other part, would leak them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import PurePosixPath

import numpy as np

from starling_training.sources.clean import Document
from starling_training.sources.corpus import Corpus
from starling_training.sources.dedup import near_duplicates

MIN_HELD_OUT = 2
OVERSHOOT, MOST = 2, 0.75
"""Max multiple of the requested share, and max share of the total, for held-out text. A file or folder that would
exceed either remains in training.
"""


@dataclass(frozen=True, slots=True)
class Split:
    """Documents for training and for evaluation."""

    train: tuple[Document, ...]
    held_out: tuple[Document, ...]
    near_duplicates: int = 0
    """Documents excluded from `train` as near duplicates of a held-out document or of each other."""


def split(documents: Sequence[Document], share: float, seed: int) -> Split:
    """Hold out about `share` of the characters, at least two files.

    If change times differ, the files changed last are held out, because the adapter will be used on later code.
    Otherwise whole folders are held out while they fit, then files. Ties depend on `seed` and on each path, so that
    added or removed files do not change the order of the others.
    """
    total = sum(len(document.text) for document in documents)
    wanted = share * total
    held = dict[str, Document]()
    chars = 0
    for group in _groups(documents, seed):
        more = sum(len(document.text) for document in group if _key(document) not in held)
        if chars < wanted and chars + more <= min(OVERSHOOT * wanted, MOST * total):
            held |= {_key(document): document for document in group}
            chars += more
    rest = sorted((d for d in documents if _key(d) not in held), key=lambda document: len(document.text))
    held |= {_key(document): document for document in rest[: max(0, MIN_HELD_OUT - len(held))]}
    return Split(
        tuple(document for document in documents if _key(document) not in held),
        tuple(document for document in documents if _key(document) in held),
    )


def apart(parts: Split, corpus: Corpus) -> Split:
    """`parts` without training documents that are near duplicates of a held-out document or of an earlier one."""
    rows = {document.sha256: row for row, document in enumerate(corpus.documents)}
    order = [rows[document.sha256] for document in (*parts.held_out, *parts.train)]
    near = near_duplicates(corpus.signatures[np.array(order, int)], len(parts.held_out))
    train = [d for number, d in enumerate(parts.train, len(parts.held_out)) if number not in near]
    return replace(parts, train=tuple(train), near_duplicates=len(near))


def _groups(documents: Sequence[Document], seed: int) -> Iterable[Sequence[Document]]:
    """Groups of documents that are held out together, first candidates first."""
    ranked = sorted(documents, key=lambda document: _rank(_key(document), seed))
    if len({document.changed for document in documents}) > 1:
        return [[document] for document in sorted(ranked, key=lambda document: -document.changed)]
    by_folder = sorted(ranked, key=_folder)
    folders = [list(group) for _, group in groupby(by_folder, key=_folder)]
    folders.sort(key=lambda group: _rank(_folder(group[0]), seed))
    return [*folders, *([document] for document in ranked)]


def _key(document: Document) -> str:
    return f"{document.repository}/{document.path}"


def _folder(document: Document) -> str:
    return str(PurePosixPath(_key(document)).parent)


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
