"""The record of a running server, by which editors of the same user find it: its address and its token.

A server that is meant to be found writes a record beside a lock that it holds for as long as it lives. The holder
of the lock is alive, whatever its process id; a record with a free lock was left by a killed server.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from starling_server.errors import OutputError, UsageError

LOCK_SECONDS = 5.0
"""Seconds that a new server retries: a liveness check holds the lock for a moment."""


class Running(BaseModel):
    """Address and token of a server. Only the owner may read the file, since the token grants access."""

    model_config = ConfigDict(frozen=True)

    version: str
    pid: int
    url: str
    token: str


def read(path: Path) -> Running | None:
    """The record of a server that is alive; None where there is none, or it is left over or damaged."""
    try:
        record = Running.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return record if alive(path) else None


def alive(path: Path) -> bool:
    """Whether some process holds the lock of the record at `path`."""
    try:
        with FileLock(_lock(path), timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


@contextmanager
def announced(path: Path, record: Running) -> Generator[None]:
    """Hold the lock and show the record meanwhile; raises UsageError where another server is alive, OutputError."""
    lock = FileLock(_lock(path))
    try:
        lock.acquire(timeout=LOCK_SECONDS)
        _write(path, record)
    except Timeout as error:
        raise UsageError(f"A running server is announced at {path} already: use it, or stop it first.") from error
    except OSError as error:
        lock.release()
        raise OutputError(f"Cannot write {path} ({error.strerror}): name another file with --announce.") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _write(path: Path, record: Running) -> None:
    """Write atomically, readable only by the owner from the first byte on."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(record.model_dump_json())
    new.replace(path)


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")
