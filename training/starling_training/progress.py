"""Progress in the terminal: files that are read, and whatever else is counted."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def reading(console: Console) -> Generator[Callable[[int], object]]:
    """A line that counts the files that were read, while the block runs and where there is a terminal."""
    with console.status("Reading") as status:
        yield lambda files: status.update(f"Reading and cleaning: {files:,} files")


@contextmanager
def counter(console: Console, what: str, total: int) -> "Generator[Counter]":
    """A bar that counts."""
    with columns(console) as progress:
        yield Counter(progress, what, total)


class Counter:
    """Counts up to a total."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total)

    def __call__(self, done: int) -> None:
        """`done` of the total are done."""
        self._progress.update(self._task, completed=done)


def columns(console: Console, *more: str) -> Progress:
    """A bar with counts, elapsed time and the columns `more`; shown where there is a terminal."""
    texts = (TextColumn(text) for text in more)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), *texts,
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
