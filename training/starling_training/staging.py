"""Atomic output: a folder or file appears complete or not at all."""

import errno
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from starling_server.errors import OutputError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_WAY = {errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
_NO_ROOM_WORDS = ("code: 28", "code: 122", "code: 27", "os error 28", "os error 122", "os error 27")
"""The same errors in the messages of safetensors, whose exceptions have no error number."""
_TORCH_WORDS = ("inline_container", "PytorchStreamWriter", "iostream error")
"""Words in torch's messages about failed writes, for any cause."""


def check(output: Path, overwrite: bool) -> None:
    """Raise OutputError if `output` exists and may not be replaced."""
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file: name another --output.")
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists already: add --overwrite to replace it, or name another --output.")


@contextmanager
def staged(output: Path, overwrite: bool) -> Generator[Path]:
    """A new folder beside `output`, of the same name, that replaces it when the block ends without an error.

    Otherwise the new folder is removed and `output` is unchanged. Raises OutputError if the disk is full.
    """
    check(output, overwrite)
    with explained(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        room = Path(mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        try:
            new = room / output.name
            new.mkdir()
            yield new
            share(new)
            _swap(new, output, room / "replaced")
        finally:
            shutil.rmtree(room, ignore_errors=True)


@contextmanager
def replaced(path: Path) -> Generator[Path]:
    """A temporary file beside `path` to write, which replaces it when the block ends without an error."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        try:
            yield new
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


@contextmanager
def explained(output: Path) -> Generator[None]:
    """Convert disk errors during the writing of `output` to an OutputError."""
    try:
        yield
    except Exception as error:
        if _is_no_room(error):
            raise OutputError(f"There is no room left to write {output}: free some space and start again.") from error
        if isinstance(error, OSError) and error.errno in _NO_WAY and _is_near(error.filename, output):
            what = f"{output.parent} cannot be written to ({error.strerror})"
            raise OutputError(f"{what}: name another --output.") from error
        raise


def _is_near(named: str | None, output: Path) -> bool:
    """Whether the file named in an error is a parent of `output` or beside it."""
    if named is None:
        return False
    path, parent = Path(named).absolute(), output.absolute().parent
    return path.is_relative_to(parent) or parent.is_relative_to(path)


def share(folder: Path) -> None:
    """Give every file below `folder` the mode of the umask: safetensors writes weights with owner-only access."""
    probe = folder / ".mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(mode)


def _swap(new: Path, output: Path, aside: Path) -> None:
    if output.exists():
        output.rename(aside)
    try:
        new.rename(output)
    except OSError:
        if aside.exists():
            aside.rename(output)
        raise


def _is_no_room(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in _TORCH_WORDS)
    return type(error).__name__ == "SafetensorError" and any(words in str(error) for words in _NO_ROOM_WORDS)
