"""One file as it lies in a source to one that may be learnt from: filtered, and without its secrets.

Runs in worker processes; what it is given may hold secrets, what it returns does not.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from starling_server.printable import printable
from starling_server.prompt.cursor import normalize
from starling_training.sources import dedup, filters, inside, notebook
from starling_training.sources.secrets import redact

TOO_LARGE = "over 1 MB"
NAMED = "\n"
"""Between a reason and the file or row that it is about: no path has one after `shown_path`."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A file of a source, before anything is known about it."""

    path: str
    """Relative to the source, with '/'."""
    repository: str
    licence: str = ""
    changed: int = 0
    """When its newest commit was made, in seconds since 1970; 0 where there is no history."""
    root: Path | None = None
    """The folder below which it is read, unless `content` is there."""
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Redaction:
    """The place of a redacted secret. Neither the secret nor a digest is kept: short passwords could be guessed."""

    path: str
    line: int
    """From 1 on."""
    kind: str


@dataclass(frozen=True, slots=True)
class Document:
    """One file's text."""

    path: str
    """Relative to the source, with '/'; what does not print in it is escaped."""
    text: str
    """Newlines as in prompts, secrets replaced by placeholders."""
    sha256: str
    """Of the text in UTF-8."""
    repository: str = ""
    licence: str = ""
    changed: int = 0
    weight: float = 1.0
    """Sampling weight relative to other documents."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A document with its redactions and its signature for near duplicates."""

    document: Document
    redactions: tuple[Redaction, ...]
    signature: dedup.Signature


def clean(raw: Raw) -> Cleaned | str:
    """The cleaned document of `raw`, or the reason to exclude it."""
    try:
        text, secrets = redact.redact(_text(raw))
    except _Unwanted as reason:
        return f"{reason}{NAMED}{shown_path(raw.path)}"
    document = _document(raw, text)
    redactions = tuple(Redaction(document.path, secret.line, secret.kind) for secret in secrets)
    return Cleaned(document, redactions, dedup.signature(text))


def clean_all(batch: list[Raw]) -> list[Cleaned | str]:
    """`clean` for several."""
    return [clean(raw) for raw in batch]


def document(path: str, content: bytes) -> Document | str:
    """The document that a file named `path` is, secrets included, or why it is none."""
    raw = Raw(path, "", content=content)
    try:
        return _document(raw, _text(raw))
    except _Unwanted as reason:
        return str(reason)


def shown_path(path: str) -> str:
    """A file's name as documents have it: in UTF-8, and nothing in it that a terminal obeys."""
    return printable(os.fsencode(path).decode("utf-8", "replace"))


def content(raw: Raw) -> bytes:
    """The file's bytes, one more than may be learnt from at most; raises OSError."""
    return inside.read(raw.root, raw.path, filters.MAX_BYTES + 1) if raw.root else raw.content


def digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


class _Unwanted(Exception):
    """A file is excluded from training; the message is the reason."""


def _document(raw: Raw, text: str) -> Document:
    names = printable(raw.repository), printable(raw.licence)
    return Document(shown_path(raw.path), text, digest(text), *names, raw.changed)


def _text(raw: Raw) -> str:
    """The file's text, secrets included; raises _Unwanted."""
    if fault := filters.path_fault(raw.path):
        raise _Unwanted(fault)
    found = _content(raw)
    if b"\0" in found:
        raise _Unwanted("binary")
    try:
        text = normalize(found.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _Unwanted("not UTF-8") from error
    if raw.path.endswith(notebook.SUFFIX):
        text = notebook.code(text)
        if text is None:
            raise _Unwanted("no Python notebook")
    if fault := filters.text_fault(text):
        raise _Unwanted(fault)
    return text


def _content(raw: Raw) -> bytes:
    try:
        found = content(raw)
    except OSError as error:
        raise _Unwanted("unreadable") from error
    if len(found) > filters.MAX_BYTES:
        raise _Unwanted(TOO_LARGE)
    return found
