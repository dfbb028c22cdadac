"""`eval-copilot history`: evaluates the newest commits of a repository, as holes or as simulated typing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from starling_server.errors import SourceError, UsageError
from starling_training.evaluation import evaluation_run, history
from starling_training.evaluation.history import Change
from starling_training.evaluation.holes import CHARS_PER_TOKEN
from starling_training.evaluation.sides import Asked
from starling_training.scoring.result_file import Run


@dataclass(frozen=True, slots=True)
class Wanted:
    """The part of a history to replay."""

    commits: int
    hunks: int
    characters: int
    """Maximum characters typed of a hunk."""

    def __post_init__(self) -> None:
        """Raise UsageError for values below 1, naming the flag."""
        for flag, value in (("commits", self.commits), ("hunks", self.hunks), ("characters", self.characters)):
            if value < 1:
                raise UsageError(f"--{flag} must be at least 1.")


def asked_at(asked: Asked, repository: Path, wanted: Wanted, console: Console) -> Run:
    """One hole at the start of each hunk; raises SourceError if there are none."""
    found = _changes(repository, wanted, console)
    placed = history.fitting(found, int(asked.max_tokens * CHARS_PER_TOKEN))
    return evaluation_run.ask_at(
        asked, placed, f"History of {repository.resolve().name}", _settings(found, wanted), console
    )


def typed(asked: Asked, repository: Path, wanted: Wanted, console: Console) -> Run:
    """The beginning of each hunk typed key by key."""
    found = _changes(repository, wanted, console)
    begun = [replace(change, text=change.text[: wanted.characters]) for change in found]
    return evaluation_run.type_at(
        asked, begun, f"Typing in {repository.resolve().name}", _settings(found, wanted), console
    )


def _changes(repository: Path, wanted: Wanted, console: Console) -> list[Change]:
    found = history.changes(repository, wanted.commits)
    if not found:
        raise SourceError(f"The newest {wanted.commits} commits of {repository} add no code: raise --commits.")
    commits = len({change.commit for change in found})
    chosen = _spread(found, wanted.hunks)
    console.print(f"{len(found)} hunks in {commits} commits add code; replaying {len(chosen)}.")
    return chosen


def _spread(found: Sequence[Change], most: int) -> list[Change]:
    """At most `most` changes, evenly spread."""
    count = min(most, len(found))
    return [found[number * len(found) // count] for number in range(count)]


def _settings(found: Sequence[Change], wanted: Wanted) -> dict[str, str]:
    return {"commits": str(wanted.commits), "hunks": str(len(found)), "newest": found[0].commit}
