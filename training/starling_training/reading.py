"""Origins to raw files, and raw files to cleaned ones on every core."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from starling_training import tables
from starling_training.clean import Cleaned, Raw, clean, clean_all
from starling_training.listing import Listing
from starling_training.origins import Origin

BATCH = 64
"""Files that a worker is given at once."""
ALONE = 400
"""Files that one process cleans sooner than others start."""
AHEAD = 4
"""Batches per worker that may wait: a dataset larger than memory passes through."""


def files(origin: Origin, listed: Listing | None) -> Iterator[Raw | str]:
    """Every file of `origin`, of a folder those `listed`, or the reason why one is none; raises SourceError."""
    if listed:
        for path in listed.paths:
            changed = listed.changed.get(path, 0)
            yield Raw(path, origin.name, "", changed, origin.path)
        yield from ("marked as generated or vendored" for _ in listed.marked)
        yield from (reason for reason, count in listed.left.items() for _ in range(count))
        return
    for row in tables.rows(origin):
        found = row if isinstance(row, str) else tables.file(row)
        if isinstance(found, str):
            yield found
        else:
            path, text, repository, licence = found
            yield Raw(path, repository, licence, content=text.encode("utf-8", "replace"))


def fingerprint(origin: Origin, listed: Listing | None) -> list[str] | None:
    """What changes whenever the files of `origin` do; None where that cannot be known."""
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
    """Each file cleaned or the reason why it was left out, in order; many of them on all cores."""
    stream = iter(raw)
    first = list(islice(stream, ALONE))
    if len(first) < ALONE:
        yield from (item if isinstance(item, str) else clean(item) for item in first)
        return
    yield from _on_all_cores(item for part in (first, stream) for item in part)


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
    """Hold SIGINT back, where there is a mask for it: a worker that is started meanwhile is never ended by one.

    Its initializer comes too late: an interrupt while it still imports shows its traceback.
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


def _batches(raw: Iterable[Raw | str]) -> Iterator[list[Raw | str]]:
    stream = iter(raw)
    while batch := list(islice(stream, BATCH)):
        yield batch
