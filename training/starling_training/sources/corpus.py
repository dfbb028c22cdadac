"""Reads sources into the text files to train on, and counts excluded files by reason."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starling_server.errors import SourceError
from starling_server.files import listing
from starling_server.files.languages import language
from starling_server.printable import printable
from starling_training.sources import dedup, origins, reading, store
from starling_training.sources.clean import NAMED, Cleaned, Document, Redaction
from starling_training.sources.origins import Origin

MIN_DOCUMENTS, MIN_CHARS = 5, 4_000
"""Min files and characters of a corpus; with fewer, held-out files cannot show an effect of training."""
MOST_NAMED = store.MOST_NAMED
MOST_CHARS = 1_000_000_000
"""Max characters of all documents. They are held in memory, one to four bytes each; a few kB of a compressed table may
expand to more.
"""


@dataclass(frozen=True, slots=True)
class _LeftOut:
    counts: Counter[str]
    paths: dict[str, list[str]]

    def note(self, item: str) -> None:
        """Count one more file by its reason and store its name."""
        reason, _, path = item.partition(NAMED)
        self.counts[reason] += 1
        if path and self.counts.total() <= MOST_NAMED:
            self.paths.setdefault(reason, []).append(path)


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents read from all sources."""

    origins: tuple[Origin, ...]
    commit: str | None
    """Commit of the first folder."""
    documents: tuple[Document, ...]
    """Sorted by source, then by path."""
    signatures: NDArray[np.uint32]
    """MinHash signatures, one row per document, for `dedup.near_duplicates`."""
    dropped: dict[str, int]
    """Excluded files, by reason."""
    redactions: tuple[Redaction, ...]
    counts: tuple[int, ...]
    """Documents of each origin."""
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Names of the files in `dropped` by reason: paths or row numbers, at most `MOST_NAMED`."""

    def without(self, rows: Collection[int], reason: str) -> "Corpus":
        """The corpus without the documents in `rows`, excluded for `reason`; raises SourceError if too few remain."""
        kept = [row for row in range(len(self.documents)) if row not in rows]
        owner = [number for number, count in enumerate(self.counts) for _ in range(count)]
        left = Counter(owner[row] for row in kept)
        less = replace(
            self,
            documents=tuple(self.documents[row] for row in kept),
            signatures=self.signatures[kept],
            dropped=self.dropped | ({reason: len(rows)} if rows else {}),
            counts=tuple(left[number] for number in range(len(self.counts))),
        )
        _check_enough(less)
        return less

    @property
    def root(self) -> Path | None:
        """The first folder among the origins, which editors open."""
        folders = [origin.path.resolve() for origin in self.origins if origin.kind == "folder"]
        return folders[0] if folders else None

    @property
    def title(self) -> str:
        """The sources as the user named them."""
        return printable(", ".join(origin.named for origin in self.origins))

    @property
    def chars(self) -> int:
        """Characters of all documents."""
        return sum(len(document.text) for document in self.documents)

    @property
    def languages(self) -> dict[str, int]:
        """Documents by language, most frequent first."""
        return dict(Counter(language(document.path) or "other" for document in self.documents).most_common())

    @property
    def licences(self) -> dict[str, int]:
        """Documents by the licence named in their rows, most frequent first."""
        return dict(Counter(document.licence for document in self.documents if document.licence).most_common())


def read(
    sources: Sequence[str | Path],
    weights: Sequence[float] = (),
    done: Callable[[int], object] = lambda _: None,
    max_files: int = 0,
) -> Corpus:
    """Read every source; raises SourceError if one is missing or all of them hold too little.

    `weights` has one sampling weight per source. `done` is called with the number of files read so far. At most
    `max_files` files are read of each source, the first ones; 0 means all.
    """
    found = [origins.resolve(str(source)) for source in sources]
    kept, named, seen = list[Cleaned](), _LeftOut(Counter(), {}), set[str]()
    counts, chars = list[int](), 0
    for origin, weight in zip(found, weights or [1.0] * len(found), strict=True):
        before = len(kept) + named.counts.total()
        items = _read(origin, lambda number, before=before: done(before + number))
        for item in islice(items, max_files or None):
            if isinstance(item, str):
                named.note(item)
            elif item.document.sha256 in seen:
                named.note(f"duplicate{NAMED}{item.document.path}")
            else:
                seen.add(item.document.sha256)
                kept.append(replace(item, document=replace(item.document, weight=weight)))
                chars = _check_room(origin, chars + len(item.document.text))
        counts.append(len(kept) - sum(counts))
    commits = [listing.commit(origin.path) for origin in found if origin.kind == "folder"]
    corpus = Corpus(
        tuple(found),
        commits[0] if commits else None,
        tuple(item.document for item in kept),
        np.array([item.signature for item in kept], np.uint32).reshape(-1, dedup.PERMUTATIONS),
        dict(named.counts.most_common()),
        tuple(redaction for item in kept for redaction in item.redactions),
        tuple(counts),
        {reason: tuple(paths) for reason, paths in named.paths.items()},
    )
    _check_enough(corpus)
    return corpus


def _read(origin: Origin, done: Callable[[int], object]) -> Iterator[Cleaned | str]:
    """Every file of the origin, cleaned now or read from the cache."""
    listed = listing.files(origin.path) if origin.kind == "folder" else None
    known = reading.fingerprint(origin, listed)
    if known is None:
        yield from _counted(reading.cleaned(reading.files(origin, listed)), done)
        return
    folder = store.place(origin, known)
    if not store.holds(folder):
        store.write(folder, _counted(reading.cleaned(reading.files(origin, listed)), done))
    yield from store.read(folder)


def _counted(items: Iterator[Cleaned | str], done: Callable[[int], object]) -> Iterator[Cleaned | str]:
    for number, item in enumerate(items, 1):
        done(number)
        yield item


def _check_room(origin: Origin, chars: int) -> int:
    if chars > MOST_CHARS:
        raise SourceError(
            f"With {origin.named} more than {MOST_CHARS:,} characters are read, which is more than memory is planned "
            "for: read fewer with --max-files, or name a part of it."
        )
    return chars


def _check_enough(corpus: Corpus) -> None:
    count = len(corpus.documents)
    if count >= MIN_DOCUMENTS and corpus.chars >= MIN_CHARS:
        return
    reasons = ", ".join(f"{number} {reason}" for reason, number in corpus.dropped.items())
    left_out = f" ({sum(corpus.dropped.values())} left out: {reasons})" if reasons else ""
    have = (
        f"{count} usable source file{'s'[: count != 1]} with {corpus.chars:,} characters"
        if count
        else ("no usable source file")
    )
    raise SourceError(
        f"{corpus.title} holds {have}{left_out}: name a source with at least {MIN_DOCUMENTS} files "
        f"and {MIN_CHARS:,} characters of code."
    )
