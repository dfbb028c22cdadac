"""Cleans one source file for training: applies the filters and redacts secrets.

Runs in worker processes. The input may hold secrets, the output does not.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from starling_server.files import filters, inside
from starling_server.files.content import Unwanted, redacted, source_text
from starling_server.printable import printable
from starling_training.sources import dedup

NAMED = "\n"
"""Separator between a reason and its file or row; paths from `shown_path` never contain it."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A source file before any check."""

    path: str
    """Relative to the source, with '/'."""
    repository: str
    licence: str = ""
    changed: int = 0
    """Time of its newest commit, in seconds since 1970; 0 without history."""
    root: Path | None = None
    """Folder that `path` is read from, unless `content` is set."""
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Redaction:
    """The place of a redacted secret. Neither the secret nor a digest is kept: short passwords could be guessed."""

    path: str
    line: int
    """One-based."""
    kind: str


@dataclass(frozen=True, slots=True)
class Document:
    """The text of one file."""

    path: str
    """Relative to the source, with '/'; unprintable characters are escaped."""
    text: str
    """Newlines as in prompts, secrets replaced by placeholders."""
    sha256: str
    """Hash of the text in UTF-8."""
    repository: str = ""
    licence: str = ""
    changed: int = 0
    weight: float = 1.0
    """Sampling weight relative to other documents."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A document with its redactions and its signature for near-duplicate detection."""

    document: Document
    redactions: tuple[Redaction, ...]
    signature: dedup.Signature


def clean(raw: Raw) -> Cleaned | str:
    """The cleaned document of `raw`, or the reason to exclude it."""
    try:
        found, secrets = redacted(raw.path, _content(raw))
    except Unwanted as reason:
        return f"{reason}{NAMED}{shown_path(raw.path)}"
    document = _document(raw, found)
    redactions = tuple(Redaction(document.path, secret.line, secret.kind) for secret in secrets)
    return Cleaned(document, redactions, dedup.signature(found))


def clean_all(batch: list[Raw]) -> list[Cleaned | str]:
    """Apply `clean` to a batch."""
    return [clean(raw) for raw in batch]


def document(path: str, content: bytes) -> Document | str:
    """The document at `path`, secrets included, or the reason to exclude it."""
    raw = Raw(path, "", content=content)
    try:
        return _document(raw, source_text(raw.path, _content(raw)))
    except Unwanted as reason:
        return str(reason)


def shown_path(path: str) -> str:
    """A path as stored in documents: valid UTF-8, without control sequences for terminals."""
    return printable(os.fsencode(path).decode("utf-8", "replace"))


def content(raw: Raw) -> bytes:
    """The file's bytes, at most one more than the limit for training; raises OSError."""
    return inside.read(raw.root, raw.path, filters.MAX_BYTES + 1) if raw.root else raw.content


def digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _document(raw: Raw, text: str) -> Document:
    names = printable(raw.repository), printable(raw.licence)
    return Document(shown_path(raw.path), text, digest(text), *names, raw.changed)


def _content(raw: Raw) -> bytes:
    """The file's bytes; raises Unwanted. A file that is excluded by its name is not opened."""
    if fault := filters.path_fault(raw.path):
        raise Unwanted(fault)
    try:
        return content(raw)
    except OSError as error:
        raise Unwanted("unreadable") from error
