"""Adapter folders on disk: finds new, changed and missing ones.

An unusable folder may be a copy in progress. It is reported as damaged only after its files have stopped changing.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time

from starling_server.errors import AdapterError
from starling_server.models import adapters, lora
from starling_server.models.adapter_versions import Named, Names
from starling_server.models.adapters import Adapter, Stamp
from starling_server.untrusted import shown

log = logging.getLogger(__name__)
GONE_SECONDS = 3.0
"""Seconds that a folder must be missing before its adapter is dropped: a rename leaves a gap of a moment."""
PATIENCE_SECONDS = 1.0
"""Max seconds that a scan waits for another scan."""
STILL_SECONDS = 10.0
"""Seconds without a change after which unusable files count as damaged. Copies over a network stall for seconds."""
Add = Callable[[Adapter, Stamp], None]
"""Serves an adapter; raises AdapterError if it belongs to another base."""


@dataclass(frozen=True, slots=True)
class _Seen:
    stamp: Stamp
    since: float
    """When the files were first seen in this state, on the clock of `time.monotonic()`."""


class Arriving:
    """Folders with unusable files that may still be changing. Thread-safe."""

    def __init__(self) -> None:
        self._seen: dict[Path, _Seen] = {}

    def still(self, folder: Path, stamp: Stamp, changed: bool) -> bool:
        """Whether the unusable files of `folder` have stopped changing; if so, the folder is forgotten here.

        `changed` says that another state was seen before. Of a new folder only the disk can tell when it last changed.
        """
        now, before = monotonic(), self._seen.get(folder)
        if before is not None and before.stamp == stamp:
            quiet = now - before.since > STILL_SECONDS
        else:
            self._seen[folder] = _Seen(stamp, now)
            quiet = not (changed or before or just_changed(folder))
        if quiet:
            self.forget(folder)
        return quiet

    def forget(self, folder: Path) -> None:
        """Stop waiting for this folder."""
        self._seen.pop(folder, None)

    def forget_missing(self) -> None:
        """Stop waiting for folders that were removed."""
        for folder in tuple(self._seen):
            if not folder.is_dir():
                self.forget(folder)

    def __contains__(self, folder: Path) -> bool:
        return folder in self._seen

    def reason(self, name: str) -> str | None:
        """Why the folder of this name is not served yet; None if it is not here."""
        return unfinished(name) if any(folder.name == name for folder in tuple(self._seen)) else None


def unfinished(name: str) -> str:
    """One sentence about files that are incomplete and still changing."""
    return (
        f"The files of adapter {shown(name)!r} are incomplete and changed within the last {STILL_SECONDS:g} seconds: "
        "if they are being copied, ask again when the copy is complete; otherwise ask again in "
        f"{STILL_SECONDS:g} seconds for what is wrong with them."
    )


class Folders:
    """The last seen state of every folder, and the scan that compares it with the disk."""

    def __init__(self, names: Names, add: Add) -> None:
        self._names, self._add = names, add
        self._scanning = threading.Lock()
        self._scanned = 0.0
        """Start of the newest scan, on the clock of `time.monotonic()`."""
        self._seen: dict[Path, Stamp] = {}
        self.arriving = Arriving()

    def saw(self, folder: Path, stamp: Stamp) -> None:
        """Note the state of a folder that can be served."""
        self._seen[folder] = stamp
        self.arriving.forget(folder)

    def is_seen(self, folder: Path, stamp: Stamp) -> bool:
        """Whether the folder has not changed since it was last read."""
        return self._seen.get(folder) == stamp

    def is_still(self, folder: Path, stamp: Stamp) -> bool:
        """Whether unusable files with this stamp are damaged, not incomplete."""
        seen = self._seen.get(folder)
        return seen == stamp or self.arriving.still(folder, stamp, changed=seen is not None)

    def scan(self) -> None:
        """Read the folders that are new or have changed, and drop adapters whose folders are missing.

        Gives up if another scan has been running for a second: the disk hangs. A thread that waited for a scan that
        began after its own call does not scan again.
        """
        asked = monotonic()
        if not self._scanning.acquire(timeout=PATIENCE_SECONDS):
            return
        try:
            if self._scanned > asked:
                return
            self._scanned = monotonic()
            for folder in adapters.folders():
                self._look(folder)
            for name, known in self._names.items():
                self._look(known.wanted.adapter.path)
                self._miss(name, known)
            self.arriving.forget_missing()
        finally:
            self._scanning.release()

    def _look(self, folder: Path) -> None:
        """Serve the adapter of a folder that is new or has changed; adapters of other bases are ignored."""
        stamp = adapters.stamp(folder)
        if self.is_seen(folder, stamp):
            return
        try:
            adapter = judged(folder)
        except AdapterError as error:
            if self.is_still(folder, stamp):
                self._seen[folder] = stamp
                self._refuse(folder, str(error))
            elif self._is_named(folder):
                self._names.accept(folder.name)
            return
        self._seen[folder] = stamp
        known = self._names.get(adapter.name)
        if known is not None and known.wanted.adapter.path != adapter.path:
            return  # given by its path; the folder under `adapters.home()` has the same name
        try:
            self._add(adapter, stamp)
        except AdapterError as error:
            if known is not None:
                self._refuse(folder, str(error))

    def _refuse(self, folder: Path, reason: str) -> None:
        """Report a folder whose new files cannot be served; a missing folder is not reported."""
        if not adapters.servable(folder.name):
            log.error("%s", reason)
            return
        if self._is_named(folder) and folder in self._seen and folder.is_dir():
            self._names.refuse(folder.name, reason)

    def _is_named(self, folder: Path) -> bool:
        """Whether the folder's name stands for it, and not for an adapter that was given by its path."""
        known = self._names.get(folder.name)
        return known is None or known.wanted.adapter.path == folder

    def _miss(self, name: str, known: Named) -> None:
        """Drop an adapter whose folder has been missing for `GONE_SECONDS`."""
        folder, now = known.wanted.adapter.path, monotonic()
        if folder.is_dir():
            known.missing = None
        elif known.missing is None:
            known.missing = now
        elif now - known.missing > GONE_SECONDS:
            log.warning(
                "adapter %s is no longer served: its folder %s was removed; put it back to serve it",
                name,
                shown(folder),
            )
            self._seen.pop(folder, None)
            self._names.drop(name)


def judged(folder: Path) -> Adapter:
    """The adapter in `folder`; raises AdapterError if its manifest, configuration or weights' header is unusable."""
    adapter = adapters.load(folder)
    lora.outline(adapter.path)
    return adapter


def just_changed(folder: Path) -> bool:
    """Whether files changed within `STILL_SECONDS`, by the disk's clock, which may be that of another machine."""
    return abs(time() - adapters.changed(folder)) < STILL_SECONDS
