"""An index that follows a folder: built in the background, kept on disk, updated file by file."""

import hashlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from starling_server.context import store
from starling_server.context.choice import Chooser
from starling_server.context.index import MOST_FILES, Index, digest
from starling_server.errors import SourceError
from starling_server.files import filters, inside, listing
from starling_server.files.content import Unwanted
from starling_server.postprocess.parser_client import client

REST = 0.5
"""Seconds of sleep for each second of work in the background, so that keys are answered in between."""
LOWEST = 19
"""Niceness of the background thread, where the system has one for each thread."""
LISTING_SHARE, LISTING_SECONDS = 0.05, 2.0
"""Share of the time that listings of the folder may take, and least seconds between two. A new file needs one: it may
be ignored, or not tracked by git."""
STEP = 20
"""Files between two reports of progress."""
RULES = frozenset({".gitignore", ".starlingignore", ".gitattributes"})
"""Files that decide which others are indexed."""
Progress = Callable[[int, int], object]
"""Takes the number of files done and of all, on the background thread."""
_log = logging.getLogger(__name__)


class Workspace:
    """The index of the files below `folder` that training would read; `cache` is a folder for indexes on disk."""

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        self.folder = folder
        name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]
        self._path = cache / f"{name}.index" if cache else None
        self.index = Index()
        self.chooser = Chooser(self.index)
        self._built, self._over, self._wake = threading.Event(), threading.Event(), threading.Event()
        self._pending, self._lock, self._next_listing = dict[str, str](), threading.Lock(), 0.0
        """Changed paths with their new names, or with their own."""
        self._thread: threading.Thread | None = None

    @property
    def usable(self) -> bool:
        """Whether the whole folder was read since the start: what an index on disk says may be gone."""
        return self._built.is_set() and not self._over.is_set()

    def start(self, progress: Progress | None = None, read: Callable[[], object] = lambda: None) -> None:
        """Build or refresh the index in a thread of lowest priority, which then follows `changed`.

        The thread calls `read` once the folder was read, or cannot be.
        """
        self._thread = threading.Thread(target=self._run, args=(progress, read), name="index", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread within one file; returns at once."""
        self._over.set()
        self._wake.set()

    def close(self) -> None:
        """As `stop`, and wait for it."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def ready(self, seconds: float | None = None) -> bool:
        """Wait until the folder was read; returns whether it was."""
        return self._built.wait(seconds)

    def changed(self, paths: Iterable[str]) -> None:
        """Have the thread read these again; names of files and folders, relative to the folder."""
        with self._lock:
            self._pending |= {path: path for path in paths}
        self._wake.set()

    def renamed(self, old: str, new: str) -> None:
        """Have the thread take over a file or folder under its new name."""
        with self._lock:
            self._pending[old] = new
        self._wake.set()

    def load(self) -> None:
        """Take over the index on disk, if there is a good one."""
        if self._path is None:
            return
        store.used(self._path)
        store.tidy(self._path.parent)
        found = store.load(self._path)
        if found is not None:
            self.index, self.chooser = found, Chooser(found)

    def refresh(self, rest: float = 0.0, progress: Progress | None = None, every: bool = True) -> None:
        """Bring the whole index up to date and save it; raises SourceError where the files cannot be listed.

        A file that only moved is not read again; without `every`, none that is in the index. `rest` is sleep for each
        second of work.
        """
        paths = self._list()
        gone = {entry.digest: path for path in set(self.index) - set(paths) if (entry := self.index.entry(path))}
        changed = bool(gone)
        paths = paths if every else [path for path in paths if path not in self.index]
        for number, path in enumerate(paths):
            if self._over.is_set():
                return
            if progress is not None and number % STEP == 0:
                progress(number, len(paths))
            began = time.perf_counter()
            changed |= self._follow(path, gone)
            if rest:
                self._over.wait(rest * (time.perf_counter() - began))
        for path in gone.values():
            self.index.remove(path)
        client("index").rest()
        if changed:
            self.save()

    def _list(self) -> list[str]:
        """The files to index, and when to list them next at the earliest."""
        began = time.monotonic()
        paths = list(filter(_is_wanted, listing.files(self.folder, dated=False).paths))[:MOST_FILES]
        took = time.monotonic() - began
        self._next_listing = time.monotonic() + max(LISTING_SECONDS, took / LISTING_SHARE)
        return paths

    def update(self, path: str) -> bool:
        """Read a file again, after it was saved, created or deleted; its name is relative to the folder.

        Returns False where only a new listing can tell: a file that is not in the index may be ignored.
        """
        if self.index.entry(path) is not None:
            self._follow(path, {})
            return True
        for known in self.index.below(path):
            self._follow(known, {})
        return not (_may_matter(path, self.folder) and os.path.lexists(self.folder / path))

    def save(self) -> None:
        """Write the index to disk; a full disk is logged."""
        if self._path is not None:
            try:
                store.save(self.index, self._path)
            except OSError as error:
                _log.warning("The index of %s cannot be saved (%s).", self.folder, error.strerror)

    def _follow(self, path: str, gone: dict[str, str]) -> bool:
        """Add or change one file, or take over an entry of `gone` with the same content; returns whether it changed."""
        known = self.index.entry(path)
        try:
            content = inside.read(self.folder, path, filters.MAX_BYTES + 1)
            key = digest(content)
            if known is not None and known.digest == key:
                return False
            if known is None and key in gone:
                self.index.rename(gone.pop(key), path)
            else:
                self.index.put(path, content)
        except (OSError, Unwanted):
            self.index.remove(path)
            return known is not None
        return True

    def _rename(self, old: str, new: str) -> None:
        for known in () if old == new else (old, *self.index.below(old)):
            if _is_wanted(moved := new + known[len(old) :]):
                self.index.rename(known, moved)

    def _run(self, progress: Progress | None, read: Callable[[], object]) -> None:
        if sys.platform == "linux":  # elsewhere the number is that of some process
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
        try:
            self.load()
            self.refresh(REST, progress)
            if not self._over.is_set():
                self._built.set()
        except SourceError as error:
            _log.warning("Other files are not used: %s", error)
        finally:
            read()
        if self._built.is_set():
            try:
                self._follow_changes()
            except Exception:  # an index that is not followed would go stale unnoticed
                self._built.clear()
                _log.exception("Other files of %s are not used any more: the index failed.", self.folder)

    def _follow_changes(self) -> None:
        """Until the end: what `changed` names, and a listing for what is new."""
        unknown = False
        while True:
            wait = max(0.0, self._next_listing - time.monotonic()) if unknown else None
            self._wake.wait(wait)
            self._wake.clear()
            if self._over.is_set():
                return
            with self._lock:
                paths, self._pending = self._pending, {}
            for old, new in paths.items():
                self._rename(old, new)
            unknown |= bool([path for path in {*paths, *paths.values()} if not self.update(path)])
            if unknown and time.monotonic() >= self._next_listing:
                with suppress(SourceError):  # as in a checkout that is being changed: the next change asks again
                    self.refresh(REST, every=False)
                unknown = False
            client("index").rest()


def _is_wanted(path: str) -> bool:
    """Whether a file is source code by its name, and the name is text, which a request can carry."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return filters.path_fault(path) is None


def _may_matter(path: str, folder: Path) -> bool:
    """Whether a new file or folder may hold source code, or rules of what is ignored."""
    if os.path.isdir(folder / path):
        return _is_wanted(f"{path}/a.py")
    return path.rpartition("/")[2] in RULES or _is_wanted(path)
