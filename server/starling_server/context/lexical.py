"""BM25 over the chunks of many files, with exact counts after every change (Robertson and Zaragoza 2009).

Counted here in numpy. docs/decisions.md has the measurements: bm25s builds its matrix anew for every change, tantivy
counts what was removed until it merges segments, and SQLite's FTS5 and rank_bm25 score every match in turn.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

K1, B = 1.2, 0.75
"""The usual saturation and length normalisation."""
MOST_TERMS = 24
"""Terms of a query: its rarest. More take time and change little."""
COMMON = 0.02
"""Share of the chunks that a term may occur in to be looked up."""
RARE = 500
"""Terms in fewer chunks are always looked up: a limit of 50 lost a sixth of the names found in small repositories."""
MOST_COUNT = 15
"""A term's count in a chunk is kept in four bits; BM25 saturates long before."""
DEAD = 0.5
"""Share of removed chunks at which postings are compacted."""
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{1,63}")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def terms(text: str) -> list[str]:
    """Words of code in lower case; a word of several parts also as its parts: `readFile` -> readfile, read, file."""
    found = list[str]()
    for word in _WORD.findall(text):
        found.append(word.lower())
        parts = _PART.findall(word) if not word.islower() or "_" in word else ()
        if len(parts) > 1:
            found += [part.lower() for part in parts if len(part) > 1]
    return found


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk and its score."""

    chunk: int
    score: float


class Postings:
    """Which chunks hold a term, and how often. Chunks are numbered by the caller, increasing."""

    def __init__(self) -> None:
        self._of: dict[str, array[int]] = {}
        """By term: chunk << 4 | count."""
        self._counts = dict[str, int]()
        """Chunks that hold the term and were not removed."""
        self._lengths = array("I")
        """Terms of each chunk, at least 1; 0 for a removed one."""
        self.live = self.terms = 0
        """Chunks that were not removed, and their terms."""

    def __len__(self) -> int:
        """Chunks ever added since the last compaction."""
        return len(self._lengths)

    def add(self, texts: Iterable[str]) -> range:
        """Add chunks; returns their numbers."""
        first = len(self._lengths)
        for number, text in enumerate(texts, first):
            found = terms(text)
            self._lengths.append(max(1, len(found)))
            self.live += 1
            self.terms += self._lengths[number]
            for term, count in Counter(found).items():
                posted = self._of.get(term)
                if posted is None:
                    posted = self._of[term] = array("I")
                posted.append(number << 4 | min(count, MOST_COUNT))
                self._counts[term] = self._counts.get(term, 0) + 1
        return range(first, len(self._lengths))

    def remove(self, chunks: range, texts: Iterable[str]) -> None:
        """Remove chunks with their texts, from which counts are taken back."""
        for number, text in zip(chunks, texts, strict=True):
            self.live -= 1
            self.terms -= self._lengths[number]
            self._lengths[number] = 0
            for term in set(terms(text)):
                self._counts[term] -= 1
                if not self._counts[term]:
                    del self._counts[term], self._of[term]

    @property
    def wasteful(self) -> bool:
        """Whether so many chunks were removed that `compact` pays."""
        return len(self._lengths) - self.live > max(1_000, DEAD * len(self._lengths))

    def compact(self) -> NDArray[np.int64]:
        """Drop removed chunks; returns the new number of each old one (chunks + 1,): numbers keep their order."""
        alive = np.frombuffer(self._lengths, np.uint32) > 0
        numbers = np.concatenate([[0], np.cumsum(alive)]).astype(np.int64)
        for term, posted in self._of.items():
            packed = np.frombuffer(posted, np.uint32)
            packed = packed[alive[packed >> 4]]
            moved = (numbers[packed >> 4] << 4 | (packed & MOST_COUNT)).astype(np.uint32)
            self._of[term] = array("I", moved.tobytes())
        self._lengths = array("I", np.frombuffer(self._lengths, np.uint32)[alive].tobytes())
        return numbers

    def search(self, words: Sequence[str], most: int, skip: range = range(0)) -> list[Hit]:
        """The `most` best chunks for the terms `words`, and all that score like the last of them; unordered.

        Chunks of `skip` are left out.
        """
        rare = max(RARE, COMMON * self.live)
        known = {word: count for word in words if (count := self._counts.get(word, 0)) and count <= rare}
        chosen = sorted(known, key=lambda word: (known[word], word))[:MOST_TERMS]
        if not chosen:
            return []
        packed = [np.frombuffer(self._of[word], np.uint32) for word in chosen]
        counts = np.array([known[word] for word in chosen])
        idf = np.repeat(np.log1p((self.live - counts + 0.5) / (counts + 0.5)), [len(each) for each in packed])
        joined = np.concatenate(packed)
        numbers, times = joined >> 4, (joined & MOST_COUNT).astype(float)
        lengths = np.frombuffer(self._lengths, np.uint32)[numbers]
        weights = idf * times * (K1 + 1) / (times + K1 * (1 - B + B * lengths * (self.live / self.terms)))
        weights[(lengths == 0) | ((numbers >= skip.start) & (numbers < skip.stop))] = 0
        return _best(np.bincount(numbers, weights).astype(np.float64, copy=False), most)

    def dump(self) -> dict[str, NDArray[np.generic]]:
        """All counts as arrays, without removed chunks only after `compact`."""
        lengths = np.array([len(posted) for posted in self._of.values()], np.uint32)
        return {
            "terms": np.frombuffer("\n".join(self._of).encode(), np.uint8),
            "sizes": lengths,
            "counts": np.array([self._counts[term] for term in self._of], np.uint32),
            "postings": np.frombuffer(b"".join(map(bytes, self._of.values())), np.uint32),
            "lengths": np.frombuffer(self._lengths, np.uint32),
        }

    @classmethod
    def load(cls, dumped: "dict[str, NDArray[np.generic]]") -> "Postings":
        """The postings that `dump` wrote."""
        made = cls()
        names = dumped["terms"].tobytes().decode().split("\n") if len(dumped["terms"]) else []
        ends = np.cumsum(dumped["sizes"].astype(np.int64)) * 4
        content = memoryview(dumped["postings"].tobytes())
        begin = 0
        for name, end, count in zip(names, ends.tolist(), dumped["counts"].tolist(), strict=True):
            made._of[name], made._counts[name] = array("I", content[begin:end].tobytes()), count
            begin = end
        made._lengths = array("I", dumped["lengths"].tobytes())
        made.live, made.terms = int((dumped["lengths"] != 0).sum()), int(dumped["lengths"].sum())  # pyright: ignore
        return made


def _best(scores: NDArray[np.float64], most: int) -> list[Hit]:
    """The best scores, rounded so that the order of additions does not decide ties."""
    chunks = np.flatnonzero(scores > 0)
    scores = scores[chunks]
    least = np.partition(scores, -most)[-most] if len(scores) > most else 0.0
    chosen = np.flatnonzero(scores >= least - 1e-9)[: 16 * most]
    return [Hit(int(chunks[at]), round(float(scores[at]), 6)) for at in chosen]
