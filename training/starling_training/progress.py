"""What a person sees while sources are read."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def reading(console: Console) -> Generator[Callable[[int], object]]:
    """A line that counts the files that were read, while the block runs and where there is a terminal."""
    with console.status("Reading") as status:
        yield lambda files: status.update(f"Reading and cleaning: {files:,} files")
