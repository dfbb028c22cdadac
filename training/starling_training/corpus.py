"""A source to documents: text files worth learning from, and a count of the others by reason."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from starling_server import window
from starling_server.errors import SourceError
from starling_training import filters, listing
from starling_training.languages import language

MIN_DOCUMENTS, MIN_CHARS = 5, 4_000
"""Fewer files or characters teach an adapter nothing that a held-out file could show."""
TOO_LARGE = "over 1 MB"


@dataclass(frozen=True, slots=True)
class Document:
    """One file's text."""

    path: str
    """Relative to the source, with '/'."""
    text: str
    """Newlines as in prompts."""
    sha256: str
    """Of the text in UTF-8."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """What was read of a source."""

    root: Path
    commit: str | None
    documents: tuple[Document, ...]
    """By path."""
    dropped: dict[str, int]
    """Files left out, by reason."""

    @property
    def chars(self) -> int:
        """Characters of all documents."""
        return sum(len(document.text) for document in self.documents)

    @property
    def languages(self) -> dict[str, int]:
        """Documents by language, most first."""
        return dict(Counter(language(document.path) or "other" for document in self.documents).most_common())


def read(source: Path) -> Corpus:
    """Read the directory `source`; raises SourceError where it is missing or holds too little."""
    if not source.is_dir():
        kind = "is a file" if source.exists() else "does not exist"
        raise SourceError(f"The source {source} {kind}: name a directory, such as a git checkout.")
    documents, dropped, seen = list[Document](), Counter[str](), set[str]()
    listed = listing.files(source)
    for path in listed.paths:
        found = read_file(source, path)
        if isinstance(found, Document) and found.sha256 in seen:
            found = "duplicate"
        if isinstance(found, str):
            dropped[found] += 1
        else:
            seen.add(found.sha256)
            documents.append(found)
    corpus = Corpus(source.resolve(), listed.commit, tuple(documents), dict(dropped.most_common()))
    _check_enough(corpus)
    return corpus


def read_file(source: Path, path: str) -> Document | str:
    """The document at `path` below `source`, or the reason why it is none."""
    file = source / path
    if fault := filters.path_fault(path):
        return fault
    try:
        too_large = file.stat().st_size > filters.MAX_BYTES
        raw = b"" if too_large else file.read_bytes()
    except OSError:
        return "unreadable"
    return TOO_LARGE if too_large else document(path, raw)


def document(path: str, raw: bytes) -> Document | str:
    """The document that a file named `path` with content `raw` is, or the reason why it is none."""
    if fault := filters.path_fault(path):
        return fault
    if len(raw) > filters.MAX_BYTES:
        return TOO_LARGE
    if b"\0" in raw:
        return "binary"
    try:
        text = window.normalize(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "not UTF-8"
    if fault := filters.text_fault(text):
        return fault
    shown = os.fsencode(path).decode("utf-8", "replace")
    return Document(shown, text, hashlib.sha256(text.encode()).hexdigest())


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
        f"{corpus.root} holds {have}{left_out}: name a source with at least {MIN_DOCUMENTS} files "
        f"and {MIN_CHARS:,} characters of code."
    )
