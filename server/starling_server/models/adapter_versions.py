"""Versions of adapters: what a name stands for now, and what it stood for before."""

import logging
import threading
from dataclasses import dataclass

from starling_server.errors import UnknownAdapter
from starling_server.models.adapters import Adapter, Stamp
from starling_server.models.manifest import FimRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdapterKey:
    """One version of one adapter, unique in this process. Runners and caches compare keys only."""

    name: str
    number: int
    """Counts all versions of all adapters, from 1."""

    def __str__(self) -> str:
        """For logs and answers."""
        return f"{self.name}@{self.number}"


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """A folder as it was at one time. A request is resolved to one and keeps it to its end."""

    key: AdapterKey
    adapter: Adapter
    stamp: Stamp
    """Of the files, taken before they were read."""

    @property
    def name(self) -> str:
        """The name that requests use."""
        return self.key.name

    @property
    def fim(self) -> FimRecord:
        """How the training prompts were cut and written."""
        return self.adapter.manifest.fim


@dataclass(slots=True)
class Named:
    """What one name stands for."""

    wanted: AdapterVersion
    """The newest that was seen."""
    good: AdapterVersion | None = None
    """The newest that could be loaded."""
    missing: float | None = None
    """Since when the folder is missing, on `time.monotonic()`'s clock."""


class Names:
    """The served names, and why others are not served. Thread-safe; no method touches the disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Never held while the disk is read, which may hang: requests wait for it."""
        self._named: dict[str, Named] = {}
        self._broken: dict[str, str] = {}
        self._count = 0

    def __contains__(self, name: str) -> bool:
        return name in self._named

    def get(self, name: str) -> Named | None:
        """What `name` stands for, None where it is not served."""
        return self._named.get(name)

    def known(self, name: str) -> Named:
        """What `name` stands for; raises UnknownAdapter where it was withdrawn while a request waited."""
        known = self._named.get(name)
        if known is None:
            raise UnknownAdapter(f"Adapter {name!r} is no longer served: name another; GET /v1/adapters lists them.")
        return known

    def items(self) -> list[tuple[str, Named]]:
        """Every served name."""
        with self._lock:
            return list(self._named.items())

    def all(self) -> list[str]:
        """Every name, sorted, broken ones included."""
        with self._lock:
            return sorted(self._named.keys() | self._broken.keys())

    def add(self, adapter: Adapter, stamp: Stamp) -> None:
        """Let the adapter's name stand for a new version of it."""
        with self._lock:
            self._count += 1
            version = AdapterVersion(AdapterKey(adapter.name, self._count), adapter, stamp)
            self._broken.pop(adapter.name, None)
            known = self._named.get(adapter.name)
            if known is None:
                self._named[adapter.name] = Named(version)
            else:
                known.wanted, known.missing = version, None

    def drop(self, name: str) -> bool:
        """Stop serving `name`; False where it was not served."""
        with self._lock:
            self._broken.pop(name, None)
            return self._named.pop(name, None) is not None

    def broken(self, name: str) -> str | None:
        """Why the newest files of `name` are not used."""
        return self._broken.get(name)

    def refuse(self, name: str, reason: str) -> None:
        """Note and log, once per reason, why the newest files of `name` are not used."""
        if self._broken.get(name) != reason:
            log.error("%s%s", reason, " The former version stays in use." if name in self._named else "")
            self._broken[name] = reason

    def accept(self, name: str) -> None:
        """Forget why the files of `name` were not used: they have changed since."""
        with self._lock:
            self._broken.pop(name, None)

    def fall_back(self, name: str, former: AdapterVersion | None, reason: str) -> None:
        """Let `name` stand for its `former` version again, or drop it where there is none."""
        with self._lock:
            self._broken[name] = reason
            if former is None:
                self._named.pop(name, None)
            elif name in self._named:
                self._named[name].wanted = former
        log.error("%s %s", reason, "The former version stays in use." if former else "Requests for it get 404.")

    def current(self) -> set[AdapterKey]:
        """Keys of the versions that names stand for."""
        with self._lock:
            named = [version for known in self._named.values() for version in (known.wanted, known.good)]
        return {version.key for version in named if version is not None}
