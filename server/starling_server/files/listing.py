"""The files of a source: those tracked by git, or those not excluded by its .gitignore files."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

from pathspec import GitIgnoreSpec

from starling_server.errors import SourceError
from starling_server.files import git, ignoring, inside

IGNORE = ".starlingignore"
"""Tracked files to exclude from training, in .gitignore syntax."""
DEEPEST = 300
"""Maximum folder depth; deeper files are skipped. Python 3.11's `os.walk` fails at a depth of a thousand."""
MARKS = ("linguist-generated", "linguist-vendored")
ATTRIBUTES_SECONDS = 300.0
"""Time limit for git's .gitattributes matching; a million files take about ten seconds. Its matcher never ends for some
patterns.
"""
MOST_RULES = 1_000_000
"""Max bytes read of a .gitignore or .starlingignore."""
SUBMODULE, UNREADABLE = "submodule (name its folder as a source of its own)", "folder unreadable or too deep"
_MODE_OF_SUBMODULE = "160000"


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a source, before any is read."""

    paths: list[str]
    """Relative to the source, with '/', sorted."""
    marked: list[str] = field(default_factory=list[str])
    """Files excluded because .gitattributes marks them as generated or vendored, as in GitHub's linguist."""
    changed: dict[str, int] = field(default_factory=dict[str, int])
    """Time of each path's newest commit, in seconds since 1970; empty without history."""
    left: dict[str, int] = field(default_factory=dict[str, int])
    """Counts of other exclusions by reason: whole folders, not files."""


def files(source: Path, dated: bool = True) -> Listing:
    """The source's files; raises SourceError. With `dated` the whole history is read for `Listing.changed`.

    A folder without tracked files inside a larger checkout counts as a plain folder. Symbolic links are skipped: a
    target inside the source is listed itself.
    """
    in_checkout = any((folder / ".git").exists() for folder in (source.absolute(), *source.absolute().parents))
    tracked, submodules = _tracked(source) if in_checkout else ([], 0)
    left = {SUBMODULE: submodules} if submodules else {}
    if not (tracked or left) and (source / ".git").exists():
        raise SourceError(f"{source} is a git checkout without tracked files: add them with `git add` first.")
    unreadable = list[OSError]()
    every = tracked if tracked or left else _walk(source, unreadable.append)
    found = filter(inside.checker(source), (path for path in every if path.count("/") <= DEEPEST))
    wanted = _wanted(source, sorted(set(found)))
    if not (tracked or left):
        return Listing(wanted, left={UNREADABLE: len(unreadable)} if unreadable else {})
    marked = _marked(source, wanted)
    changed = _changed(source) if dated else {}
    return Listing([path for path in wanted if path not in marked], sorted(marked), changed, left)


def commit(source: Path) -> str | None:
    """The commit checked out at `source`; None outside a checkout or before the first commit."""
    return _git(source, "rev-parse", "--verify", "--quiet", "HEAD").stdout.decode().strip() or None


def _wanted(source: Path, paths: list[str]) -> list[str]:
    """`paths` without those that the source's .starlingignore excludes."""
    spec = _rules(source, IGNORE)
    return [path for path in paths if not spec.match_file(path)]


def _rules(source: Path, path: str) -> GitIgnoreSpec:
    """The patterns of the file at `path`; none if it is missing or a link, which git does not follow.

    Raises SourceError if the file exists but cannot be read or is too large to match.
    """
    file = source / path
    try:
        text = inside.read(source, path, MOST_RULES).decode("utf-8", "replace")
    except PermissionError as error:
        raise SourceError(f"{file} cannot be read ({error.strerror}): fix its permissions or remove it.") from error
    except OSError:
        text = ""
    return ignoring.parse(text, file)


def _marked(source: Path, paths: list[str]) -> set[str]:
    """The subset of `paths` marked as generated or vendored in .gitattributes."""
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    try:
        said = git.run(source, "check-attr", "-z", "--stdin", *MARKS, stdin=names, seconds=ATTRIBUTES_SECONDS)
    except TimeoutExpired as error:
        raise SourceError(
            f"git timed out matching the .gitattributes patterns of {source}: simplify or remove patterns "
            "with many '*'."
        ) from error
    answer = said.stdout.split(b"\0")
    triples = zip(answer[::3], answer[2::3], strict=False)
    return {os.fsdecode(path) for path, value in triples if value in (b"set", b"true")}


def _changed(source: Path) -> dict[str, int]:
    """The time of each path's newest commit; empty for a shallow clone, whose single commit gives no order."""
    if _git(source, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
        return {}
    shape = ("-z", "--format=%x01%ct", "--name-only", "--no-renames", "--relative", "--no-show-signature", "--no-color")
    log = _git(source, "log", *shape, "HEAD").stdout
    changed, time = dict[str, int](), 0
    for entry in log.split(b"\0"):
        name = entry.lstrip(b"\n")
        if name.startswith(b"\x01"):
            time = int(name[1:].split(b"\n")[0])
            name = name.partition(b"\n")[2].lstrip(b"\n")
        if name:
            changed.setdefault(os.fsdecode(name), time)
    return changed


def _tracked(source: Path) -> tuple[list[str], int]:
    """The files in the index, and the number of submodules."""
    answer = _git(source, "ls-files", "-z", "--stage")
    if answer.returncode:
        if own := git.refused_owner(answer.stderr):
            raise SourceError(f"git refuses to read {source}, owned by another user: run `{own}` to trust it.")
        raise SourceError(
            f"git cannot list the files of {source} ({git.complaint(answer.stderr)}): repair the checkout or export it "
            "first."
        )
    entries = [os.fsdecode(entry).split("\t", 1) for entry in answer.stdout.split(b"\0") if entry]
    files = [name for state, name in entries if not state.startswith(_MODE_OF_SUBMODULE)]
    return files, len(entries) - len(files)


def _git(source: Path, *arguments: str, stdin: bytes = b"") -> CompletedProcess[bytes]:
    try:
        return git.run(source, *arguments, stdin=stdin)
    except FileNotFoundError as error:
        raise SourceError(f"{source} is a git checkout, but git is not installed: install git.") from error


def _walk(source: Path, unreadable: Callable[[OSError], object]) -> Iterator[str]:
    """Every file below `source` that no .gitignore on the way to it excludes."""
    rules = ignoring.Rules(source)
    for folder, folders, names in os.walk(source, onerror=unreadable):
        here = Path(folder)
        if ".gitignore" in names:
            rules.add(here, _rules(source, (here / ".gitignore").relative_to(source).as_posix()))
        if folders and len(here.relative_to(source).parts) >= DEEPEST:
            unreadable(OSError(f"{folder} is too deep"))
            folders.clear()
        folders[:] = [name for name in folders if name != ".git" and not rules.exclude(here / name, "/")]
        for name in names:
            if not rules.exclude(here / name):
                yield (here / name).relative_to(source).as_posix()
