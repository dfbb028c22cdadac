"""Stretches of a stream to rows of equal length, most of their text rewritten for fill-in-the-middle.

A stretch may hold the end of one document and the beginning of the next; each part gets a hole of its own, drawn as
for adapters, and is written by the same `fim.example` as every prompt that is served. What the sentinels need is taken
from the part's outer ends, never from its middle. Some parts are learnt as files of one definition each, since the
places that people try first are in files with hardly anything else.
"""

import re
from collections.abc import Iterator
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from starling_server.prompt.cursor import hold_blanks
from starling_server.prompt.fim import SENTINELS, Fim, Tokenizer
from starling_training.base.stream import Stream
from starling_training.examples.dataset import IGNORED
from starling_training.examples.spans import Span, draw

FIM_RATE, SPM_RATE = 0.9, 0.8
"""Shares of parts with a hole, and of those in the order that is served."""
LEAST, MOST_MIDDLE, MIDDLE_SHARE = 48, 64, 0.5
"""Ids of a part that is worth a hole, of a middle, and a middle's share of its part."""
ALONE_RATE, LEAST_ALONE, BARE_RATE = 0.15, 10, 0.5
"""Share of parts whose definitions are learnt one by one, ids of one that is worth a hole, and the share of those with
nothing behind the hole, as in a file that is being written."""
BETWEEN = re.compile(r"\n{3,}(?=\S)")
"""What stands between definitions at the top level (PEP 8: two blank lines)."""
CHARS_PER_TOKEN = 6
"""A middle with more characters than this per token it may have is not worth encoding to find out."""


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """`rows[position]` is the row made of the stretch from `position` on: ids and labels, shape (length,) each."""

    def __init__(self, stream: Stream, tokenizer: Tokenizer, fim: Fim, length: int, seed: int) -> None:
        self._stream, self._tokenizer, self._fim = stream, tokenizer, fim
        self._length, self._seed = length, seed

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        random = Random(f"{self._seed}:{position}")
        stretch = self._stream.read(position, self._length)
        ids = [i for part in self._parts(stretch) for i in self._learnt(part, random)][: self._length]
        padding = self._length - len(ids)
        return torch.tensor(ids + [self._fim.pad] * padding), torch.tensor(ids + [IGNORED] * padding)

    def _parts(self, stretch: NDArray[np.uint16]) -> Iterator[list[int]]:
        """The stretch cut behind each document's end."""
        ends = np.flatnonzero(stretch == self._fim.end) + 1
        yield from (part.tolist() for part in np.split(stretch, ends) if len(part))

    def _learnt(self, part: list[int], random: Random) -> Iterator[int]:
        """The part with a hole, or each of its definitions with one."""
        if random.random() >= ALONE_RATE:
            yield from self._rewrite(part, random)
            return
        for definition in BETWEEN.split(self._text(part)):
            yield from self._rewrite_alone(definition, random)

    def _rewrite(self, part: list[int], random: Random) -> list[int]:
        """The part with a hole, at most as long as it was; or the part itself."""
        text = self._text(part)
        span = self._hole(part, text, LEAST, random)
        return self._fill(text, span, len(part), random) if span else part

    def _rewrite_alone(self, text: str, random: Random) -> list[int]:
        """A short file with a hole, whole; half of them end where the hole does."""
        ids = self._tokenizer.encode(text)
        span = self._hole(ids, text, LEAST_ALONE, random)
        if span is None:
            return [*ids, self._fim.end]
        written = text[: span.end] if random.random() < BARE_RATE else text
        return self._fill(written, span, len(ids) + SENTINELS + 1, random)

    def _text(self, part: list[int]) -> str:
        """The part's text, without the document's end and what its cut left of a character."""
        return self._tokenizer.decode(part[:-1] if part[-1] == self._fim.end else part).strip("\ufffd")

    def _hole(self, part: list[int], text: str, least: int, random: Random) -> Span | None:
        if len(part) < least or random.random() >= FIM_RATE:
            return None
        most = min(MOST_MIDDLE, int(len(part) * MIDDLE_SHARE))
        spans = draw(text, 1, random, lambda span: self._fits(text, span, most), "Python")
        return spans[0] if spans else None

    def _fill(self, text: str, span: Span, most: int, random: Random) -> list[int]:
        head, held = hold_blanks(text[: span.start])
        prefix, suffix = self._tokenizer.encode(head), self._tokenizer.encode(text[span.end :])
        middle = self._tokenizer.encode(held + text[span.start : span.end])
        order = "spm" if random.random() < SPM_RATE else "psm"
        surplus = max(0, len(self._fim.example(prefix, middle, suffix, order).ids) - most)
        late = min(len(suffix), surplus if len(suffix) > len(prefix) else 0)
        kept = suffix[: len(suffix) - late]
        return self._fim.example(prefix[surplus - late :], middle, kept, order).ids

    def _fits(self, text: str, span: Span, most: int) -> bool:
        if span.length > most * CHARS_PER_TOKEN:
            return False
        _, held = hold_blanks(text[: span.start])
        return len(self._tokenizer.encode(held + text[span.start : span.end])) < most
