"""Safe reading of untrusted files: regular files only, up to a maximum size, and strict JSON.

Opening a named pipe blocks until its other end is opened, reading a device may never end, and a symbolic link may point
to a file that its author must not read.
"""

import json
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from starling_server.printable import printable

MOST_BYTES = 500_000_000
"""Max bytes of a file; the largest known files, the answers of an evaluation, have tens of MB."""
MOST_SHOWN = 200
"""Max characters of untrusted text in a message."""
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Unfit(ValueError):
    """A file of the wrong kind, size or content; the message is a predicate that follows the file's name."""


def inside(path: Path, folder: Path) -> Path:
    """The real path of `path` in `folder`; raises OSError, and Unfit if it is outside of `folder`.

    In the Hub's cache, links from a snapshot to the `blobs` folder beside the snapshots are allowed.
    """
    real, home = Path(os.path.realpath(path, strict=True)), Path(os.path.realpath(folder, strict=True))
    if real.is_relative_to(home):
        return real
    if home.parent.name == "snapshots" and real.parent == home.parent.parent / "blobs":
        return real
    raise Unfit("is a link to a file outside its folder")


@contextmanager
def opened(path: Path) -> Generator[BinaryIO]:
    """The open regular file at `path`; raises OSError, and Unfit for anything but a regular file. Never blocks."""
    _check(os.stat(path))
    handle = os.open(path, _FLAGS)
    try:
        _check(os.fstat(handle))  # of the opened file: the path may have been replaced in between
        stream = os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
    with stream:
        yield stream


def read(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes; raises OSError, and Unfit for a larger one."""
    with opened(path) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise Unfit(f"is larger than {most >> 20} MiB")
    return data


def values(data: bytes) -> Any:
    """Any JSON value, from files that Starling wrote; raises Unfit."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unfit("is not valid JSON") from error


def parsed(data: bytes) -> dict[str, Any]:
    """A JSON object; raises Unfit, also for duplicate keys, NaN and Infinity, which parsers read differently."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_number)
    except Unfit:
        raise
    except (ValueError, RecursionError) as error:
        raise Unfit("is not valid JSON") from error
    if not isinstance(value, dict):
        raise Unfit("is not a JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]


def shown(text: object) -> str:
    """Untrusted text for a message: at most `MOST_SHOWN` characters, with control characters and line ends escaped."""
    return printable(str(text)[:MOST_SHOWN])


def refusal(path: Path, error: OSError | Unfit, advice: str) -> str:
    """One sentence: what is wrong with `path`, and what to do."""
    if isinstance(error, PermissionError):
        return (
            f"{shown(path)} cannot be read (permission denied): make it readable for the user that runs this command."
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{shown(path.parent)} has no {path.name}: {advice}."
    what = str(error) if isinstance(error, Unfit) else f"cannot be read ({error.strerror})"
    return f"{shown(path)} {what}: {advice}."


def _check(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Unfit("is not a regular file")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen = set[str]()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise Unfit(f"has the key {shown(twice)} twice")
    return made


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
