"""Folders of adapters on the disk: new ones, changed ones, missing ones. Files that are being copied are left alone.

Files that cannot be used as they are may still be on their way: they are judged when they hold still.
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

log = logging.getLogger(__name__)
GONE_SECONDS = 3.0
"""How long a folder must be missing: one that is replaced is away for a moment."""
PATIENCE_SECONDS = 1.0
"""How long a scan waits for another scan."""
STILL_SECONDS, LONGEST_SECONDS = 2.0, 600.0
"""How long files must not have changed to be called damaged; after how long they are, change or not."""
Add = Callable[[Adapter, Stamp], None]
"""Serves an adapter; raises AdapterError where it belongs to another base."""


@dataclass(frozen=True, slots=True)
class _Seen:
    stamp: Stamp
    since: float
    """When the files were first seen like this, on `time.monotonic()`'s clock."""
    begun: float
    """When they were first seen to be wrong."""
    reason: str


class Arriving:
    """Folders whose files are unusable and may still be changing."""

    def __init__(self) -> None:
        self._seen: dict[Path, _Seen] = {}

    def still(self, folder: Path, stamp: Stamp, reason: str) -> bool:
        """Whether the files, unusable for `reason`, have stopped changing; then they are forgotten here."""
        now, before = monotonic(), self._seen.get(folder)
        begun = before.begun if before else now
        if before is None or before.stamp != stamp:
            self._seen[folder] = _Seen(stamp, now, begun, reason)
            quiet = not just_changed(folder)
        else:
            quiet = now - before.since > STILL_SECONDS
        if quiet or now - begun > LONGEST_SECONDS:
            self.forget(folder)
            return True
        return False

    def forget(self, folder: Path) -> None:
        """Stop waiting for this folder."""
        self._seen.pop(folder, None)

    def reason(self, name: str) -> str | None:
        """Why the folder of this name is not served yet."""
        for folder, seen in tuple(self._seen.items()):
            if folder.name == name:
                return f"{seen.reason} Its files changed just now: if they are being copied, ask again."
        return None


class Folders:
    """What was last seen of every folder, and the scan that compares."""

    def __init__(self, names: Names, add: Add) -> None:
        self._names, self._add = names, add
        self._scanning = threading.Lock()
        self._scanned = 0.0
        """When the newest scan began."""
        self._seen: dict[Path, Stamp] = {}
        self.arriving = Arriving()

    def saw(self, folder: Path, stamp: Stamp) -> None:
        """Note the state of a folder that can be served."""
        self._seen[folder] = stamp
        self.arriving.forget(folder)

    def is_seen(self, folder: Path, stamp: Stamp) -> bool:
        """Whether the folder has not changed since it was last looked at."""
        return self._seen.get(folder) == stamp

    def scan(self) -> None:
        """Look at the folders for new, changed and missing ones.

        Gives up where another scan has been running for a second: the disk hangs. Threads that waited for a scan that
        began after they came do not scan again.
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
        finally:
            self._scanning.release()

    def _look(self, folder: Path) -> None:
        """Take notice of a folder that is new or has changed; one of another base is ignored."""
        stamp = adapters.stamp(folder)
        if self.is_seen(folder, stamp):
            return
        try:
            adapter = judged(folder)
        except AdapterError as error:
            if self.arriving.still(folder, stamp, str(error)):
                self._seen[folder] = stamp
                self._refuse(folder, str(error))
            return
        self._seen[folder] = stamp
        known = self._names.get(adapter.name)
        if known is not None and known.wanted.adapter.path != adapter.path:
            return  # one was given by its folder, and another of the same name is under `adapters.home()`
        try:
            self._add(adapter, stamp)
        except AdapterError as error:
            if known is not None:
                self._refuse(folder, str(error))

    def _refuse(self, folder: Path, reason: str) -> None:
        """Report a folder whose new files cannot be served; a missing one is only waited for."""
        if not adapters.servable(folder.name):
            log.error("%s", reason)
            return
        known = self._names.get(folder.name)
        if known is not None and known.wanted.adapter.path != folder:
            return
        if folder in self._seen and folder.is_dir():
            self._names.refuse(folder.name, reason)

    def _miss(self, name: str, known: Named) -> None:
        """Stop serving an adapter whose folder has been missing for long."""
        folder, now = known.wanted.adapter.path, monotonic()
        if folder.is_dir():
            known.missing = None
        elif known.missing is None:
            known.missing = now
        elif now - known.missing > GONE_SECONDS:
            log.warning("adapter %s is gone from the disk: it is served no longer", name)
            self._seen.pop(folder, None)
            self._names.drop(name)


def judged(folder: Path) -> Adapter:
    """The adapter in `folder`; raises AdapterError for whatever its manifest, configuration and header show."""
    adapter = adapters.load(folder)
    lora.outline(adapter.path)
    return adapter


def just_changed(folder: Path) -> bool:
    """Whether files may still be changing; by the clock of the disk, which another machine may set."""
    return abs(time() - adapters.changed(folder)) < STILL_SECONDS
