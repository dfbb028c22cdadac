"""Folders whose files cannot be used as they are and may be on their way: judged when they hold still."""

from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time

from starling_server.models import adapters
from starling_server.models.adapters import Stamp

STILL_SECONDS, LONGEST_SECONDS = 2.0, 600.0
"""How long files must not have changed to be called damaged; after how long they are, change or not."""


@dataclass(frozen=True, slots=True)
class _Seen:
    stamp: Stamp
    since: float
    """When the files were first seen like this, on `time.monotonic()`'s clock."""
    begun: float
    """When they were first seen to be wrong."""
    reason: str


class Arriving:
    """What is waited for."""

    def __init__(self) -> None:
        self._seen: dict[Path, _Seen] = {}

    def still(self, folder: Path, stamp: Stamp, reason: str) -> bool:
        """Whether the files, wrong for this reason, seem to be nobody's work any more; then they are forgotten here."""
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
        """Its files are sound, or known not to be."""
        self._seen.pop(folder, None)

    def reason(self, name: str) -> str | None:
        """Why the folder of this name is not served yet."""
        for folder, seen in tuple(self._seen.items()):
            if folder.name == name:
                return f"{seen.reason} Its files changed just now: if they are being copied, ask again."
        return None


def just_changed(folder: Path) -> bool:
    """Whether somebody may be at it; by the clock of the disk, which another machine may set."""
    return abs(time() - adapters.changed(folder)) < STILL_SECONDS
