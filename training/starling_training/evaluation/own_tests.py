"""`eval-copilot tests`: fills holes in a repository and checks the result with the repository's own tests.

The procedure is that of llm-ls's testbed: copy, cut a hole, complete, test. A hole counts only if the tests fail while
it is empty and if a suggestion can fill all of it.
"""

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from random import Random
from tempfile import TemporaryDirectory, gettempdir

from rich.console import Console

from starling_server.errors import SourceError, UsageError
from starling_server.files import filters, inside, listing
from starling_server.files.secrets import redact
from starling_training.evaluation import evaluation_run, execute, holes
from starling_training.evaluation.execute import Limits
from starling_training.evaluation.sides import Asked, Side
from starling_training.scoring.judge import GoOn, answer
from starling_training.scoring.result_file import Run
from starling_training.scoring.trials import Answer, Placed, Trial, truth
from starling_training.sources import clean
from starling_training.sources.clean import Document

TEXTS = ("prefix", "middle", "suffix")
TRIES = 5
"""Holes drawn for each hole requested, because the tests do not detect all of them."""
LEFT = shutil.ignore_patterns(".git", "node_modules", ".venv", "venv", "__pycache__", ".tox", ".nox")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The files to fill and the command that runs the tests."""

    command: str
    holes: int
    files: str
    """A pattern of paths."""
    seed: int
    seconds: float

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values, naming the flag."""
        if not shlex.split(self.command):
            raise UsageError("--command must name a program, as in 'python -m pytest -q'.")
        if self.holes < 1 or self.seconds <= 0:
            raise UsageError("--holes must be 1 or more, and --seconds more than 0.")


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the repository and its test command."""

    root: Path
    origin: Path
    wanted: Wanted

    def passes(self, path: str, text: str) -> bool:
        """Whether the tests pass with this text in the file; the file is restored afterwards."""
        try:
            inside.write(self.root, path, text.encode())
            return self.outcome().status == 0
        except OSError:  # an earlier test run removed the file or replaced it by a link
            return False
        finally:
            self._restore(path)

    def _restore(self, path: str) -> None:
        """Restore the file's original text."""
        with suppress(OSError):
            inside.write(self.root, path, inside.read(self.origin, path, filters.MAX_BYTES))

    def outcome(self) -> execute.Outcome:
        """Run the tests on the copy as it is."""
        return execute.run(shlex.split(self.wanted.command), self.root, Limits(self.wanted.seconds))


def asked_at(asked: Asked, repository: Path, wanted: Wanted, console: Console) -> Run:
    """Every side at every hole detected by the tests; raises SourceError if the tests fail on the unchanged code."""
    with TemporaryDirectory(prefix="starling-tests-", ignore_cleanup_errors=True) as place:
        copy = Copy(copied(repository, Path(place) / "copy", console), repository, wanted)
        before = copy.outcome()
        if before.status != 0:
            raise SourceError(
                f"{wanted.command} does not pass in a copy of {repository} as it is "
                f"({_last(before)}): fix it, or name another --command."
            )
        documents = _documents(repository, wanted.files)
        noticed = _noticed(copy, documents, asked.max_tokens, console)
        return _ask(asked, copy, noticed, repository.resolve().name, console)


def copied(repository: Path, to: Path, console: Console) -> Path:
    """A copy of the repository's files; raises SourceError if a file cannot be read or the disk is full.

    Links to targets outside the repository are skipped and counted: programs in the copy would write through them.
    """
    out = list[Path]()

    def left(folder: str, names: list[str]) -> set[str]:
        paths = [path for name in names if (path := Path(folder, name)).name not in LEFT(folder, names)]
        out.extend(path for path in paths if path.is_symlink() and inside.leads_out(repository, path))
        odd = {path.name for path in paths if not path.is_symlink() and _is_no_file(path)}
        return LEFT(folder, names) | odd | {path.name for path in out if path.parent == Path(folder)}

    try:
        copied = Path(shutil.copytree(repository, to, symlinks=True, ignore=left))
        _turn_links(copied, repository.resolve())
    except (shutil.Error, OSError) as error:
        failed = error.args[0] if isinstance(error, shutil.Error) else [(error.filename, "", error.strerror)]
        name, _, reason = failed[0]
        raise SourceError(
            f"{repository} cannot be copied to run its tests ({name}: {reason}): fix that, or free some space in "
            f"{gettempdir()}."
        ) from error
    if out:
        console.print(f"Note: {len(out)} links that lead out of the repository are excluded from the copy.")
    return copied


def _turn_links(copied: Path, repository: Path) -> None:
    """Redirect links with absolute targets in the repository to the same place in the copy."""
    for folder, folders, names in os.walk(copied):
        for link in (path for name in (*folders, *names) if (path := Path(folder, name)).is_symlink()):
            if (target := link.readlink()).is_absolute():
                link.unlink()
                link.symlink_to(copied / target.resolve().relative_to(repository))


def _is_no_file(path: Path) -> bool:
    """Whether it is a socket, pipe or device."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _ask(asked: Asked, copy: Copy, noticed: Sequence[Placed], name: str, console: Console) -> Run:
    async def ask(sides: Sequence[Side], go_on: GoOn) -> Run:
        made = list[Trial]()
        for path, hole in noticed:
            found = [_judged(copy, path, await answer(side.engine, path, hole), (path, hole)) for side in sides]
            made.append(_hidden(Trial(path, hole, truth(hole), found[0], found[-1])))
            if not go_on(len(made)):
                break
        settings = {"command": copy.wanted.command, "seed": str(copy.wanted.seed)}
        return evaluation_run.made(asked, f"{name}, its own tests", sides, settings, made)

    return evaluation_run.with_sides(asked, len(noticed), "filling and testing", ask, console)


def _hidden(trial: Trial) -> Trial:
    """`trial` with its secrets redacted for storage: the tests ran on the original text."""
    hole = replace(trial.hole, **{part: redact.redact(getattr(trial.hole, part))[0] for part in TEXTS})
    base, adapter = (replace(each, text=redact.redact(each.text)[0]) for each in (trial.base, trial.adapter))
    return replace(trial, hole=hole, truth=redact.redact(trial.truth)[0], base=base, adapter=adapter)


def _judged(copy: Copy, path: str, found: Answer, placed: Placed) -> Answer:
    hole = placed[1]
    right = found.text == hole.middle or copy.passes(path, hole.prefix + found.text + hole.suffix)
    return replace(found, passed=(right,))


def _noticed(copy: Copy, documents: Sequence[Document], max_tokens: int, console: Console) -> list[Placed]:
    """Holes whose removal the tests detect."""
    wanted = copy.wanted
    places = holes.places(documents, TRIES * wanted.holes, max_tokens, wanted.seed)
    whole = [placed for placed in holes.cut_out(places, documents) if _whole(placed)]
    found = list[Placed]()
    with console.status("Looking for holes that the tests notice") as status:
        for path, hole in whole:
            if len(found) < wanted.holes and not copy.passes(path, hole.prefix + hole.suffix):
                found.append((path, hole))
                status.update(f"Holes that the tests notice: {len(found)} of {wanted.holes}")
    if not found:
        raise SourceError(f"{wanted.command} passes even with code removed: name another --command or other --files.")
    console.print(f"{len(found)} holes that the tests notice.")
    return found


def _whole(placed: Placed) -> bool:
    middle = placed[1].middle
    return bool(middle.strip()) and truth(placed[1]) == middle


def _documents(repository: Path, files: str) -> list[Document]:
    """Source files, without tests and without redaction, in a shuffled order."""
    listed = [path for path in listing.files(repository).paths if _matches(path, files) and not _is_test(path)]
    found = [document for path in listed if (document := _document(repository, path))]
    if not found:
        raise SourceError(f"{repository} has no source file that fits --files {files}: name another pattern.")
    Random(0).shuffle(found)
    return found


def _document(repository: Path, path: str) -> Document | None:
    try:
        made = clean.document(path, inside.read(repository, path, filters.MAX_BYTES + 1))
    except OSError:
        return None
    return None if isinstance(made, str) or made.path != path else made  # an escaped name cannot be filled


def _matches(path: str, pattern: str) -> bool:
    return fnmatch(path, pattern) or fnmatch("/" + path, pattern)


def _is_test(path: str) -> bool:
    parts = PurePosixPath(path).parts
    named = parts[-1].startswith(("test_", "conftest")) or parts[-1].rpartition(".")[0].endswith(("_test", ".test"))
    return named or any(part in {"test", "tests", "testing"} for part in parts[:-1])


def _last(outcome: execute.Outcome) -> str:
    if outcome.status is None:
        return "its time ran out"
    lines: Iterator[str] = reversed([*outcome.errors.splitlines(), *outcome.output.splitlines()])
    return next((line.strip()[:120] for line in lines if line.strip()), f"status {outcome.status}")
