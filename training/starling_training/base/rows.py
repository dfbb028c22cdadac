"""Cuts a stream into rows of equal length and rewrites most of the text for fill-in-the-middle.

A row may hold the end of one document and the beginning of the next. Each part gets its own hole, drawn as for
adapters, and is formatted by `fim.example`, the function behind every served prompt. Room for the sentinels is cut from
the outer ends of the part, never from its middle. Some parts are trained as files of one definition each, because users
often try a completion first in an almost empty file.
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
from starling_server.prompt.fim import Fim, Tokenizer
from starling_training.base.stream import Stream
from starling_training.examples.dataset import IGNORED
from starling_training.examples.spans import Span, draw

FIM_RATE, SPM_RATE = 0.9, 0.8
"""Share of parts with a hole, and share of those in the order used in serving (suffix, prefix, middle)."""
LEAST, MOST_MIDDLE, MIDDLE_SHARE = 48, 64, 0.5
"""Min ids of a part that gets a hole, max ids of a middle, and max share of a middle in its part."""
ALONE_RATE, LEAST_ALONE, BARE_RATE = 0.15, 10, 0.5
"""Share of parts whose definitions are trained one by one, min ids of a definition that gets a hole, and share of those
without text after the hole, as in a file that is being written.
"""
BETWEEN = re.compile(r"\n{3,}(?=\S)")
"""Separator between top-level definitions (PEP 8: two blank lines)."""
CHARS_PER_TOKEN = 6
"""Middles with more characters than this per allowed token are rejected without encoding them."""


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """`rows[position]` is the row that starts at `position`: ids and labels, shape (length,) each."""

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
        """The row's ids, split after the end of each document."""
        ends = np.flatnonzero(stretch == self._fim.end) + 1
        yield from (part.tolist() for part in np.split(stretch, ends) if len(part))

    def _learnt(self, part: list[int], random: Random) -> Iterator[int]:
        """The ids to train on: the part with a hole, or each of its definitions with one."""
        if random.random() >= ALONE_RATE:
            yield from self._rewrite(part, random)
            return
        for definition in BETWEEN.split(self._text(part)):
            yield from self._rewrite_alone(definition, random)

    def _rewrite(self, part: list[int], random: Random) -> list[int]:
        """The part with a hole, no longer than before, or the part unchanged."""
        text = self._text(part)
        span = self._hole(part, text, LEAST, random)
        return self._fill(text, span, len(part), random) if span else part

    def _rewrite_alone(self, text: str, random: Random) -> list[int]:
        """A whole short file with a hole; half of these files end at the hole."""
        ids = self._tokenizer.encode(text)
        span = self._hole(ids, text, LEAST_ALONE, random)
        if span is None:
            return [*ids, self._fim.end]
        written = text[: span.end] if random.random() < BARE_RATE else text
        return self._fill(written, span, len(ids) + self._fim.sentinels + 1, random)

    def _text(self, part: list[int]) -> str:
        """The part's text, without the end token and without incomplete characters at its cut ends."""
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
