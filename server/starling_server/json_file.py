"""JSON files that others wrote: of any size, depth and kind until they are read."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 500_000_000
"""Of one file; the largest that is met is a vocabulary or a run's answers, some tens of MB."""


def read(path: Path, most: int = MOST_BYTES) -> Any:
    """What the file at `path` holds; raises OSError where it cannot be read, ValueError where it is no sane JSON.

    Pipes and devices are refused without waiting for what they would say.
    """
    return parse(content(path, most))


def content(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a plain file; raises OSError, and ValueError where there are more than `most`."""
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no plain file", str(path))
        read = stream.read(most + 1)
    if len(read) > most:
        raise ValueError(f"{path.name} is larger than {most:,} bytes")
    return read


def parse(text: str | bytes) -> Any:
    """JSON's values; raises ValueError, also for what is nested too deep."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
