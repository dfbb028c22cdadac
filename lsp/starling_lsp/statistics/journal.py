"""Acceptance statistics on this disk: counts, lengths and times. No code is stored, and nothing is sent.

One SQLite file in the user's state folder, shared by all editors of the user. A separate thread writes to it.
"""

import logging
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

from starling_lsp import state
from starling_server.errors import UsageError

log = logging.getLogger(__name__)
TABLE = """CREATE TABLE IF NOT EXISTS suggestions (
  at REAL NOT NULL, language TEXT NOT NULL, adapter TEXT, base TEXT NOT NULL, client TEXT NOT NULL,
  characters INTEGER NOT NULL, taken INTEGER NOT NULL, outcome TEXT NOT NULL,
  kept_30 REAL, kept_300 REAL)"""
SUMMARY = """SELECT language, coalesce(adapter, '-'), count(*), sum(outcome = 'accepted'), sum(outcome = 'partly'),
  sum(outcome = 'typed'), sum(outcome = 'dismissed'), avg(kept_30), avg(kept_300)
  FROM suggestions GROUP BY 1, 2 ORDER BY 3 DESC"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One suggestion that was shown."""

    at: float
    """Seconds since 1970."""
    language: str
    adapter: str | None
    base: str
    client: str
    characters: int
    taken: int
    """Number of its characters that the user accepted or typed."""
    outcome: str
    kept_30: float | None
    """Share kept 30 seconds after acceptance; None if it was not accepted or the document was closed."""
    kept_300: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """Counts of one language and adapter."""

    language: str
    adapter: str
    shown: int
    accepted: int
    partly: int
    typed: int
    dismissed: int
    kept_30: float | None
    kept_300: float | None


def path() -> Path:
    """Path of the SQLite file."""
    return state.folder() / "statistics.sqlite"


class Journal:
    """Writes entries; the first error is logged, and entries that cannot be written are dropped."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "starling-journal")
        self._broken = False

    def add(self, entry: Entry) -> None:
        """Queue `entry` for writing."""
        self._thread.submit(self._write, entry)

    def close(self) -> None:
        """Write the queued entries and stop the thread."""
        self._thread.shutdown()

    def _write(self, entry: Entry) -> None:
        try:
            with closing(_open()) as file, file:
                file.execute("INSERT INTO suggestions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", astuple(entry))
        except (OSError, sqlite3.Error) as error:
            if not self._broken:
                log.warning("no statistics are kept (%s): make %s writable", error, path())
            self._broken = True


def rows() -> Sequence[Row]:
    """Counts by language and adapter; raises UsageError if the file cannot be read."""
    if not path().exists():
        return []
    try:
        with closing(_open()) as file:
            return [Row(*values) for values in file.execute(SUMMARY)]
    except (OSError, sqlite3.Error) as error:
        raise UsageError(f"{path()} cannot be read ({error}): delete it to start a new one.") from error


def _open() -> sqlite3.Connection:
    path().parent.mkdir(parents=True, exist_ok=True)
    file = sqlite3.connect(path(), timeout=10)
    file.execute(TABLE)
    return file
