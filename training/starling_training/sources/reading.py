"""Lists the raw files of origins and cleans them on all cores."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from starling_server.errors import SourceError
from starling_server.files import filters
from starling_server.files.content import TOO_LARGE
from starling_server.files.listing import Listing
from starling_training.sources import tables
from starling_training.sources.clean import NAMED, Cleaned, Raw, clean, clean_all, shown_path
from starling_training.sources.origins import Origin

BATCH, BATCH_BYTES = 64, 4_000_000
"""Max files, and max bytes of row texts, in one batch for a worker."""
ALONE, ALONE_BYTES = 400, 32_000_000
"""Files, and bytes of row texts, up to which one process finishes before workers would have started."""
AHEAD = 4
"""Max pending batches per worker, so that a dataset larger than memory can be read."""


def files(origin: Origin, listed: Listing | None) -> Iterator[Raw | str]:
    """Every file of `origin` (for a folder, those `listed`), or its reason for exclusion; raises SourceError."""
    if listed:
        for path in listed.paths:
            changed = listed.changed.get(path, 0)
            yield Raw(path, origin.name, "", changed, origin.path)
        yield from (f"marked as generated or vendored{NAMED}{shown_path(path)}" for path in listed.marked)
        yield from (reason for reason, count in listed.left.items() for _ in range(count))
        return
    yield from _of_rows(origin)


def _of_rows(origin: Origin) -> Iterator[Raw | str]:
    """Every row as a file; raises SourceError, with the column names found, if no row has a text."""
    columns, texts = "", 0
    for number, row in enumerate(tables.rows(origin, tables.COLUMNS), 1):
        found = row if isinstance(row, str) else tables.file(row, number)
        if isinstance(found, str):
            if found == tables.NO_TEXT and not isinstance(row, str):
                columns = columns or tables.columns_of(row)
            yield f"{found}{NAMED}row {number:,}"
            continue
        path, text, repository, licence = found
        texts += 1
        if len(text) > filters.MAX_BYTES:  # checked before cleaning, because hundreds of files may be queued
            yield f"{TOO_LARGE}{NAMED}{shown_path(path)}"
        else:
            yield Raw(path, repository, licence, content=text.encode("utf-8", "replace"))
    if columns and not texts:
        raise SourceError(
            f"No row of {origin.named} has a text: its columns are {columns}, and text is read from "
            f"{', '.join(tables.TEXTS)}: rename the column that holds the code."
        )


def fingerprint(origin: Origin, listed: Listing | None) -> list[str] | None:
    """A fingerprint of the files of `origin`; None if it has none."""
    if origin.kind == "hub":
        return None
    if listed is None:
        return [origin.name, _state(origin.path)]
    states = (f"{path} {listed.changed.get(path, 0)} {_state(origin.path / path)}" for path in listed.paths)
    return [origin.name, str(len(listed.marked)), str(sorted(listed.left.items())), *states]


def _state(file: Path) -> str:
    try:
        known = file.stat()
    except OSError:
        return "gone"
    return f"{known.st_size} {known.st_mtime_ns}"


def cleaned(raw: Iterable[Raw | str]) -> Iterator[Cleaned | str]:
    """Each file, cleaned, or the reason for its exclusion, in order; uses all cores for many files."""
    stream = iter(raw)
    first = next(_batches(stream, ALONE, ALONE_BYTES), [])
    if (following := next(stream, None)) is None:
        yield from (item if isinstance(item, str) else clean(item) for item in first)
        return
    yield from _on_all_cores(item for part in (first, [following], stream) for item in part)


def _on_all_cores(raw: Iterable[Raw | str]) -> Iterator[Cleaned | str]:
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting = deque[Future[list[Cleaned | str]]]()
    # Not forked: this process may have threads.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _leave_ctrl_c_to_the_parent)
    try:
        for batch in _batches(raw):
            yield from (item for item in batch if isinstance(item, str))
            if files := [item for item in batch if isinstance(item, Raw)]:
                with _ctrl_c_waits():
                    waiting.append(pool.submit(clean_all, files))
            if len(waiting) > AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_waits() -> Generator[None]:
    """Block SIGINT, where signal masks exist, so that workers started meanwhile are not ended by it.

    The worker's initializer runs too late: an interrupt during its imports would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _batches(raw: Iterable[Raw | str], most: int = BATCH, most_bytes: int = BATCH_BYTES) -> Iterator[list[Raw | str]]:
    batch, size = list[Raw | str](), 0
    for item in raw:
        batch.append(item)
        size += 0 if isinstance(item, str) else len(item.content)
        if len(batch) == most or size >= most_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
