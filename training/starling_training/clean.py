"""One file as it lies in a source to one that may be learnt from: filtered, and without its secrets.

Runs in worker processes; what it is given may hold secrets, what it returns does not.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from starling_server import window
from starling_training import dedup, filters, redact

TOO_LARGE = "over 1 MB"
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Raw:
    """A file of a source, before anything is known about it."""

    path: str
    """Relative to the source, with '/'."""
    repository: str
    licence: str = ""
    changed: int = 0
    """When its newest commit was made, in seconds since 1970; 0 where there is no history."""
    file: Path | None = None
    """Where to read it, unless `content` is there."""
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Redaction:
    """One secret that was taken out."""

    path: str
    line: int
    """From 1 on."""
    kind: str
    start: int
    """Where its placeholder begins in the cleaned text, in characters."""
    length: int
    """Characters that it had."""
    digest: str
    """BLAKE2b of its value: with the length enough to recognise it in a suggestion, and never shown."""


@dataclass(frozen=True, slots=True)
class Document:
    """One file's text."""

    path: str
    """Relative to the source, with '/'."""
    text: str
    """Newlines as in prompts, secrets replaced by placeholders."""
    sha256: str
    """Of the text in UTF-8."""
    repository: str = ""
    licence: str = ""
    changed: int = 0
    weight: float = 1.0
    """How much more often than others it is learnt from."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A document with what was taken out of it, and its signature for near-duplicates."""

    document: Document
    redactions: tuple[Redaction, ...]
    signature: dedup.Signature


def clean(raw: Raw) -> Cleaned | str:
    """What may be learnt from `raw`, or the reason why nothing may."""
    found = _text(raw)
    if isinstance(found, str):
        return found
    text, secrets = redact.redact(found.text)
    path = os.fsencode(raw.path).decode("utf-8", "replace")
    document = Document(path, text, digest(text), raw.repository, raw.licence, raw.changed)
    return Cleaned(document, tuple(_redactions(path, found.text, secrets)), dedup.signature(text))


def clean_all(batch: list[Raw]) -> list[Cleaned | str]:
    """`clean` for several."""
    return [clean(raw) for raw in batch]


def document(path: str, raw: bytes) -> Document | str:
    """The document that a file named `path` with content `raw` is, secrets included, or why it is none."""
    return _text(Raw(path, "", content=raw))


def digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def secret_digest(value: str) -> str:
    """What a secret is recognised by."""
    return hashlib.blake2b(value.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _text(raw: Raw) -> Document | str:
    """The file's text as a document, secrets included, or what speaks against it."""
    if fault := filters.path_fault(raw.path):
        return fault
    try:
        size = raw.file.stat().st_size if raw.file else len(raw.content)
        content = raw.content if size > filters.MAX_BYTES or raw.file is None else raw.file.read_bytes()
    except OSError:
        return "unreadable"
    if size > filters.MAX_BYTES:
        return TOO_LARGE
    if b"\0" in content:
        return "binary"
    try:
        text = window.normalize(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "not UTF-8"
    fault = filters.text_fault(text)
    return fault or Document(os.fsencode(raw.path).decode("utf-8", "replace"), text, digest(text))


def _redactions(path: str, text: str, secrets: list[redact.Secret]) -> list[Redaction]:
    made, moved = list[Redaction](), 0
    for secret in secrets:
        value = text[secret.start : secret.end]
        made.append(Redaction(path, secret.line, secret.kind, secret.start + moved, len(value), secret_digest(value)))
        moved += len(redact.placeholder(secret.kind)) - len(value)
    return made
