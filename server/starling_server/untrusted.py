"""Files that others may have written: opened only where they are regular, read up to a bound, as JSON of one reading.

Opening a named pipe waits for its other end, a device may have no end, and a link may lead to what its maker must not
read.
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
"""Max bytes of one file; the largest known is a run's answers, some tens of MB."""
MOST_SHOWN = 200
"""Max characters of untrusted text in a message."""
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Unfit(ValueError):
    """A file that is not what it has to be; the message is a predicate, to follow the file's name."""


def inside(path: Path, folder: Path) -> Path:
    """The file itself that `path` in `folder` leads to; raises OSError, and Unfit where it lies elsewhere.

    The Hub's cache is the exception: there a snapshot's files are links to `blobs` beside the snapshots.
    """
    real, home = Path(os.path.realpath(path, strict=True)), Path(os.path.realpath(folder, strict=True))
    if real.is_relative_to(home):
        return real
    if home.parent.name == "snapshots" and real.parent == home.parent.parent / "blobs":
        return real
    raise Unfit("is a link to a file outside its folder")


@contextmanager
def opened(path: Path) -> Generator[BinaryIO]:
    """The regular file at `path`; raises OSError, and Unfit for whatever else is there. Never blocks."""
    _check(os.stat(path))
    handle = os.open(path, _FLAGS)
    try:
        _check(os.fstat(handle))  # what was opened, where it has changed places meanwhile
        stream = os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
    with stream:
        yield stream


def read(path: Path, most: int) -> bytes:
    """The whole file of at most `most` bytes; raises OSError, Unfit."""
    with opened(path) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise Unfit(f"is larger than {most >> 20} MiB")
    return data


def values(data: bytes) -> Any:
    """JSON of any kind, as our own programs write it; raises Unfit."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unfit("is not valid JSON") from error


def parsed(data: bytes) -> dict[str, Any]:
    """A JSON object; raises Unfit, also where it can be read in two ways."""
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
    """Untrusted text for a message: cut, and escaped if it could control a terminal or start a line."""
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
