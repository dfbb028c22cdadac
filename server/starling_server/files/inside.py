"""Opens files in an untrusted folder: follows no symbolic link, no `..`, and opens no device.

Each folder of a path is opened relative to its parent, so nothing can be swapped between check and use.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePath

_STEPWISE = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW") and hasattr(os, "O_DIRECTORY")
_BINARY = getattr(os, "O_BINARY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Opens a named pipe without waiting for a writer; the pipe is then refused."""


def read(root: Path, path: str, most: int) -> bytes:
    """The first `most` bytes of the file at `path` below `root`; raises OSError if it is not a file below `root`."""
    with os.fdopen(_open(root, path, os.O_RDONLY), "rb") as file:
        return file.read(most)


def write(root: Path, path: str, content: bytes) -> None:
    """Overwrite the existing file at `path` below `root`; raises OSError as `read` does."""
    with os.fdopen(_open(root, path, os.O_WRONLY), "wb") as file:
        file.truncate()
        file.write(content)


def checker(root: Path) -> Callable[[str], bool]:
    """A check whether a path is a regular file below `root`, without links on the way; caches the folders."""
    known = dict[PurePath, bool]()

    def is_folder(folder: PurePath) -> bool:
        if folder not in known:
            known[folder] = folder == PurePath() or (is_folder(folder.parent) and stat.S_ISDIR(_mode(root / folder)))
        return known[folder]

    def is_file(path: str) -> bool:
        with suppress(OSError):
            relative = PurePath(*_parts(path))
            return is_folder(relative.parent) and stat.S_ISREG(_mode(root / relative))
        return False

    return is_file


def leads_out(root: Path, link: Path) -> bool:
    """Whether the symbolic link `link` below `root` points outside `root` or into a loop."""
    try:
        return not link.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return True


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _open(root: Path, path: str, flags: int) -> int:
    """A descriptor of the regular file."""
    opened = _stepwise(root, path, flags) if _STEPWISE else _resolved(root, path, flags)
    if stat.S_ISREG(os.fstat(opened).st_mode):
        return opened
    os.close(opened)
    raise OSError(errno.EINVAL, "not a regular file", path)


def _stepwise(root: Path, path: str, flags: int) -> int:
    *folders, name = _parts(path)
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, flags | os.O_NOFOLLOW | _NO_WAIT, dir_fd=here)
    finally:
        os.close(here)


def _resolved(root: Path, path: str, flags: int) -> int:
    """Fallback for systems without calls relative to a folder descriptor (Windows)."""
    whole = root.resolve().joinpath(*_parts(path))
    if whole.resolve() != whole:
        raise OSError(errno.ELOOP, "a link on the way", path)
    return os.open(whole, flags | _BINARY | _NO_WAIT)


def _parts(path: str) -> list[str]:
    """The components of a path; an untrusted index may contain any."""
    parts = path.split("/")
    if any(part in {"", ".", ".."} or "\0" in part or PurePath(part).name != part for part in parts):
        raise OSError(errno.EINVAL, "no path below its folder", path)
    return parts
