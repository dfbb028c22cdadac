"""An index as one file: a line with its format and hash, then arrays. A file that is damaged or old is not used."""

import hashlib
import io
import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from numpy.typing import NDArray

from starling_server.context import chunks, imports, index, lexical, outline, queries
from starling_server.context.index import Entry, Index
from starling_server.context.lexical import Postings
from starling_server.files import content, filters, languages, notebook
from starling_server.files.secrets import assigned, placed, plausible, providers, redact

CODE = (
    chunks, imports, index, lexical, outline, queries, content, filters, languages, notebook, redact, assigned, placed,
    plausible, providers,
)  # fmt: skip
"""Modules that determine what an index holds: a change in one makes older files useless."""
MOST_BYTES = 1 << 30
UNUSED_DAYS = 60
_log = logging.getLogger(__name__)


def save(made: Index, path: Path) -> None:
    """Write the index beside `path`, then rename; only its owner may read it. Raises OSError."""
    entries, postings = made.snapshot()
    body = io.BytesIO()
    np.savez(body, allow_pickle=False, **_arrays(entries), **postings.dump())
    content = body.getbuffer()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as new:  # mode 0600
        try:
            new.write(_head(content) + content)
            new.flush()
            os.fsync(new.fileno())
            Path(new.name).replace(path)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise


def load(path: Path) -> Index | None:
    """The index that `save` wrote; None where there is none, where it is damaged, or where other code wrote it."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        head, _, content = path.read_bytes().partition(b"\n")
        if head + b"\n" != _head(content):
            _log.info("The index at %s is damaged or of another version: it is built again.", path)
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return _restored({name: arrays[name] for name in arrays.files})
    except (OSError, ValueError, KeyError, EOFError) as error:
        if not isinstance(error, FileNotFoundError):
            _log.info("The index at %s cannot be read (%s): it is built again.", path, type(error).__name__)
        return None


def tidy(folder: Path) -> None:
    """Remove indexes that were last used `UNUSED_DAYS` before the newest one was, as of folders that are gone."""
    times = dict[Path, float]()
    for path in folder.glob("*.index"):
        with suppress(OSError):
            times[path] = path.stat().st_mtime
    for path, used_at in times.items():
        if used_at < max(times.values()) - UNUSED_DAYS * 86_400:
            path.unlink(missing_ok=True)


def used(path: Path) -> None:
    """Note that the index is in use."""
    with suppress(OSError):
        os.utime(path)


def _head(content: "memoryview | bytes") -> bytes:
    return f"starling-index {_version()} {hashlib.sha256(content).hexdigest()}\n".encode()


def _version() -> str:
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in CODE)
    return hashlib.sha256(code).hexdigest()[:16]


def _arrays(entries: Iterable[Entry]) -> dict[str, NDArray[np.uint8]]:
    rows, blobs = list[list[object]](), list[bytes]()
    for entry in entries:
        sizes = [len(entry.packed_chunks), len(entry.packed_outline)]
        rows.append([entry.path, entry.digest, *sizes, entry.chars, entry.numbers.start, entry.numbers.stop])
        blobs += [entry.packed_chunks, entry.packed_outline]
    return {"files": _bytes(json.dumps(rows).encode()), "blobs": _bytes(b"".join(blobs))}


def _bytes(content: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(content, np.uint8)


def _restored(arrays: dict[str, NDArray[np.generic]]) -> Index:
    blobs, at, entries = arrays["blobs"].tobytes(), 0, list[Entry]()
    for path, key, text, outlined, chars, start, stop in json.loads(arrays["files"].tobytes()):
        pieces = blobs[at : at + text], blobs[at + text : at + text + outlined]
        at += text + outlined
        entries.append(Entry(path, key, *pieces, chars, range(start, stop)))
    return Index.restored(entries, Postings.load(arrays))
