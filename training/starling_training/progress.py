"""Progress in the terminal: a count of files read, and bars for everything with a known total."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def reading(console: Console) -> Generator[Callable[[int], object]]:
    """A line with the number of files read; shown on a terminal only."""
    with console.status("Reading") as status:
        yield lambda files: status.update(f"Reading and cleaning: {files:,} files")


@contextmanager
def counter(console: Console, what: str, total: int) -> "Generator[Counter]":
    """A bar over `total` items."""
    with columns(console) as progress:
        yield Counter(progress, what, total)


@contextmanager
def until(console: Console, what: str, total: int, stopped: Callable[[], bool]) -> Generator[Callable[[int], bool]]:
    """A bar whose function takes the number done and returns whether to continue."""
    with counter(console, what, total) as count:

        def go_on(done: int) -> bool:
            count(done)
            return not stopped()

        yield go_on


class Counter:
    """A bar that counts up to a total."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total)

    def __call__(self, done: int) -> None:
        """Set the number done."""
        self._progress.update(self._task, completed=done)


def columns(console: Console, *more: str) -> Progress:
    """A bar with counts, elapsed time and the columns `more`; shown on a terminal only."""
    texts = (TextColumn(text) for text in more)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), *texts,
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
