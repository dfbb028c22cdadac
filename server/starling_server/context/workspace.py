"""An index that follows a folder: built in the background, kept on disk, updated file by file."""

import hashlib
import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from starling_server.context import store
from starling_server.context.index import MOST_FILES, Index, digest
from starling_server.errors import SourceError
from starling_server.files import filters, inside, listing
from starling_server.files.content import Unwanted
from starling_server.postprocess.parser_client import client

REST = 0.5
"""Seconds of sleep for each second of work in the background, so that keys are answered in between."""
LOWEST = 19
"""Niceness of the background thread, where the system has one for each thread."""
_log = logging.getLogger(__name__)


class Workspace:
    """The index of the files below `folder` that training would read; `cache` is a folder for indexes on disk."""

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        self.folder = folder
        self._path = (
            cache / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]}.index" if cache else None
        )
        self.index = (self._path and store.load(self._path)) or Index()
        self._over, self._thread = threading.Event(), threading.Thread(target=self._run, name="index", daemon=True)

    def start(self) -> None:
        """Build or refresh the index in a thread of lowest priority."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread within one file."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def ready(self, seconds: float | None = None) -> bool:
        """Wait until the thread has ended; returns whether it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def refresh(self, rest: float = 0.0) -> None:
        """Bring the whole index up to date and save it; raises SourceError where the files cannot be listed.

        A file that only moved is not read again. `rest` is sleep for each second of work.
        """
        paths = list(filter(_is_wanted, listing.files(self.folder).paths))[:MOST_FILES]
        gone = {entry.digest: path for path in set(self.index) - set(paths) if (entry := self.index.entry(path))}
        changed = bool(gone)
        for path in paths:
            if self._over.is_set():
                return
            began = time.perf_counter()
            changed |= self._follow(path, gone)
            if rest:
                self._over.wait(rest * (time.perf_counter() - began))
        for path in gone.values():
            self.index.remove(path)
        client("index").rest()
        if changed:
            self.save()

    def update(self, path: str) -> None:
        """Read one file again, after it was saved, created or deleted; its name is relative to the folder."""
        self._follow(path, {})

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

    def _run(self) -> None:
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
        try:
            self.refresh(REST)
        except SourceError as error:
            _log.warning("Other files are not used: %s", error)


def _is_wanted(path: str) -> bool:
    """Whether a file is source code by its name, and the name is text, which a request can carry."""
    return filters.path_fault(path) is None and path.encode("utf-8", "ignore") == os.fsencode(path)
