"""Which files a source holds: those that git tracks, or those that its .gitignore files let through."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from starling_server.errors import SourceError

_POINTERS = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"})
"""Set inside git's own hooks, where they would name another repository than the source."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source holds, before anything is read."""

    paths: list[str]
    """Relative to the source, with '/', sorted."""
    commit: str | None
    """The checkout's, None outside one or before the first."""


def files(source: Path) -> Listing:
    """The source's files; raises SourceError.

    A folder that a checkout above it tracks nothing of counts as a plain folder. Symbolic links are left out: what
    they name is either listed itself or not part of the source.
    """
    in_checkout = any((folder / ".git").exists() for folder in (source.absolute(), *source.absolute().parents))
    tracked = _tracked(source) if in_checkout else []
    if not tracked and (source / ".git").exists():
        raise SourceError(f"{source} is a git checkout that tracks no file: add its files with `git add` first.")
    found = tracked or _walk(source)
    return Listing(sorted(path for path in found if _is_plain(source / path)), _commit(source) if tracked else None)


def _commit(source: Path) -> str | None:
    return _git(source, "rev-parse", "--verify", "--quiet", "HEAD").stdout.decode().strip() or None


def _tracked(source: Path) -> list[str]:
    answer = _git(source, "ls-files", "-z")
    if answer.returncode:
        first = os.fsdecode(answer.stderr).strip().partition("\n")[0]
        raise SourceError(f"git cannot list the files of {source} ({first}): repair the checkout or export it first.")
    return [os.fsdecode(name) for name in answer.stdout.split(b"\0") if name]


def _git(source: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    own = {key: value for key, value in os.environ.items() if key not in _POINTERS}
    try:
        return subprocess.run(["git", "-C", str(source), *arguments], capture_output=True, env=own, check=False)
    except FileNotFoundError as error:
        raise SourceError(f"{source} lies in a git checkout, and git is not installed: install git.") from error


def _walk(source: Path) -> Iterator[str]:
    """Every file below `source` that no .gitignore on the way to it excludes."""
    specs: dict[Path, GitIgnoreSpec] = {}
    for folder, folders, names in os.walk(source):
        here = Path(folder)
        if ".gitignore" in names:
            lines = (here / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
            specs[here] = GitIgnoreSpec.from_lines(lines)
        folders[:] = [name for name in folders if name != ".git" and not _ignored(here / name, source, specs, "/")]
        for name in names:
            if not _ignored(here / name, source, specs):
                yield (here / name).relative_to(source).as_posix()


def _ignored(path: Path, source: Path, specs: dict[Path, GitIgnoreSpec], end: str = "") -> bool:
    """Whether the innermost .gitignore that says something about `path` excludes it; folders end in '/'."""
    for folder in path.parents:
        if folder in specs:
            verdict = specs[folder].check_file(path.relative_to(folder).as_posix() + end).include
            if verdict is not None:
                return verdict
        if folder == source:
            break
    return False


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
