"""The newest commits of a git repository as changes, each with its place in the file before the commit."""

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from subprocess import CompletedProcess

from starling_server.errors import SourceError
from starling_server.files import git
from starling_server.files.languages import language
from starling_server.files.secrets.redact import redact
from starling_server.prompt.cursor import normalize
from starling_training.examples.spans import Hole
from starling_training.scoring.trials import Placed
from starling_training.sources import clean
from starling_training.sources.clean import Document

LEAST = 4
"""Min visible characters added by a change; a smaller one is too short for a suggestion."""
_MISSING = re.compile(rb"(?i)(could not|unable to) read|bad object|missing")
"""git's messages about a missing object."""


@dataclass(frozen=True, slots=True)
class Change:
    """One hunk of a commit: the text written in one place, with the rest of the file as before the commit."""

    commit: str
    path: str
    prefix: str
    """The file up to the author's cursor."""
    text: str
    """The text the author wrote there."""
    suffix: str

    @property
    def hole(self) -> Hole:
        """The change as a hole; the suffix is the text after the cursor before the change."""
        return Hole(self.prefix, self.text, self.suffix, "block" if "\n" in self.text else "line")


def changes(repository: Path, commits: int) -> list[Change]:
    """The additions of the newest `commits` without merges, newest first; raises SourceError."""
    hashes = _git(repository, "rev-list", "--no-merges", f"--max-count={commits}", "HEAD").decode().split()
    found = [change for commit in hashes for change in _of_commit(repository, commit)]
    if not found and _git(repository, "rev-parse", "--is-shallow-repository").strip() == b"true":
        raise SourceError(
            f"{repository} is a shallow clone, which has no history before its {len(hashes)} newest "
            f"commit{'s'[: len(hashes) != 1]}: get it with `git -C {repository} fetch --unshallow`."
        )
    return found


def fitting(found: list[Change], most: int) -> list[Placed]:
    """Each change as a hole whose middle is its first lines, as many whole lines as fit in `most` characters."""
    return [(change.path, _shortened(change.hole, most)) for change in found]


def _of_commit(repository: Path, commit: str) -> Iterator[Change]:
    parents = _git(repository, "rev-list", "--parents", "--max-count=1", commit).decode().split()[1:]
    if not parents:
        return  # the first commit does not show separate changes
    listed = _git(
        repository, "diff-tree", "-r", "-z", "--no-renames", "--name-only", "--diff-filter=AM", *parents, commit
    )
    for name in map(os.fsdecode, listed.split(b"\0")):
        if name and language(name):
            before, after = _document(repository, parents[0], name), _document(repository, commit, name)
            if after is not None:
                yield from added(commit, after.path, before.text if before else "", after.text)


def added(commit: str, path: str, before: str, after: str) -> Iterator[Change]:
    """The places where `after` adds lines to `before`; each place is relative to `before` alone."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    for tag, start, end, first, last in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag in {"insert", "replace"}:
            gone, written = "".join(old[start:end]), "".join(new[first:last])
            change = _placed("".join(old[:start]), gone, written, "".join(old[end:]))
            if len("".join(change[1].split())) >= LEAST:
                yield Change(commit, path, *change)


def _placed(head: str, gone: str, written: str, tail: str) -> tuple[str, str, str]:
    """Prefix, new text and suffix of a change, without the text common to the old and new lines at both ends.

    The text of a new line starts after its indentation and ends before its newline, because the editor inserts both.
    """
    kept = _common(gone, written)
    rest, more = gone[kept:], written[kept:]
    ending = _common(rest[::-1], more[::-1])
    if not gone:
        kept, ending = len(written) - len(written.lstrip(" \t")), int(written.endswith("\n"))
        more = written[kept:]
    return head + written[:kept], more[: len(more) - ending], more[len(more) - ending :] + tail


def _common(first: str, second: str) -> int:
    """Length of the common prefix."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _shortened(hole: Hole, most: int) -> Hole:
    lines, kept = hole.middle.splitlines(keepends=True), ""
    for line in lines:
        if kept and len(kept) + len(line) > most:
            break
        kept += line
    return Hole(hole.prefix, kept[:most].rstrip("\n") if len(lines) > 1 else kept[:most], hole.suffix, hole.kind)


def _document(repository: Path, commit: str, name: str) -> Document | None:
    """The file in this commit, with its secrets redacted; None if it is excluded from training."""
    found = _git_result(repository, "cat-file", "blob", f"{commit}:{name}")
    if found.returncode:
        listed = _git(repository, "ls-tree", "-z", "--full-tree", commit, "--", name)
        if listed and not listed.startswith(b"160000"):  # a submodule's entry names a commit of another repository
            raise _incomplete(repository)
        return None
    made = clean.document(name, found.stdout)
    return None if isinstance(made, str) else replace(made, text=normalize(redact(made.text)[0]))


def _git(repository: Path, *arguments: str) -> bytes:
    done = _git_result(repository, *arguments)
    if not done.returncode:
        return done.stdout
    if own := git.refused_owner(done.stderr):
        raise SourceError(f"git refuses to read {repository}, owned by another user: run `{own}` to trust it.")
    if _MISSING.search(done.stderr):
        raise _incomplete(repository)
    raise SourceError(f"{repository} has no history to replay: name a git repository with commits.")


def _incomplete(repository: Path) -> SourceError:
    return SourceError(
        f"Objects of the history of {repository} are missing, as in a partial clone, and nothing is fetched here: get "
        f"them with `git -C {repository} fetch --refetch --no-filter`, or use a whole clone."
    )


def _git_result(repository: Path, *arguments: str) -> CompletedProcess[bytes]:
    bare = not (repository / ".git").exists() and (repository / "HEAD").is_file()  # the user named a bare one
    try:
        return git.run(repository, *(("--git-dir=.",) if bare else ()), *arguments)
    except FileNotFoundError as error:
        raise SourceError(
            "Reading the history of a repository needs git, which is not installed: install git."
        ) from error
