"""A corpus as one long sequence of ids, with a different document order in each pass."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

IDS, ENDS = "ids.npy", "ends.npy"
BATCH = 512
"""Documents encoded per batch."""


def write(texts: Iterable[str], tokenizer: Tokenizer, end: int, folder: Path) -> None:
    """Encode `texts` into `folder`, with the id `end` after each."""
    pieces, batch = list[NDArray[np.uint16]](), list[str]()

    def flush() -> None:
        for encoded in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            pieces.append(np.array([*encoded.ids, end], np.uint16))
        batch.clear()

    for text in texts:
        batch.append(text)
        if len(batch) == BATCH:
            flush()
    flush()
    np.save(folder / IDS, np.concatenate(pieces))
    np.save(folder / ENDS, np.cumsum([len(piece) for piece in pieces]))


class Stream:
    """The corpus by position, continued from pass to pass: `tokens` is the first position of the second pass."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._ids: NDArray[np.uint16] = np.load(folder / IDS, mmap_mode="r")
        ends: NDArray[np.int64] = np.load(folder / ENDS)
        self._starts = np.concatenate([[0], ends[:-1]])
        self._lengths = ends - self._starts
        self._seed = seed
        self._order = lru_cache(2)(self._shuffled)

    @property
    def tokens(self) -> int:
        """Ids in one pass."""
        return len(self._ids)

    def read(self, position: int, count: int) -> NDArray[np.uint16]:
        """`count` ids from `position` on."""
        pieces = list[NDArray[np.uint16]]()
        while count:
            piece = self._run(position, count)
            pieces.append(piece)
            position, count = position + len(piece), count - len(piece)
        return np.concatenate(pieces)

    def _run(self, position: int, most: int) -> NDArray[np.uint16]:
        """At most `most` ids from `position` to the end of its document."""
        number, within = divmod(position, self.tokens)
        order, ends = self._order(number)
        place = int(np.searchsorted(ends, within, side="right"))
        stop = int(self._starts[order[place]] + self._lengths[order[place]])
        at = stop - int(ends[place] - within)
        return np.asarray(self._ids[at : min(stop, at + most)])

    def _shuffled(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The document order of pass `number`, and the end position of each document in it."""
        order = np.random.default_rng((self._seed, number)).permutation(len(self._lengths))
        return order, np.cumsum(self._lengths[order])
