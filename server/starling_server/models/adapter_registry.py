"""The adapters that one loaded base can serve: checked when they are named, put into memory when first used.

A name stands for the folder as it was last seen. When its files change, requests that begin from then on get the new
version, those under way keep theirs, and a new version that cannot be loaded leaves the old one where it is. Files that
are being copied are judged when they hold still. What nobody uses goes when the bytes run out, least recently used
first.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol

from starling_server.errors import AdapterError, BrokenAdapter, RequestError, UnknownAdapter
from starling_server.models import adapters, lora, manifest
from starling_server.models.adapters import BARE, Adapter, Stamp
from starling_server.models.arriving import Arriving, just_changed
from starling_server.models.manifest import FimRecord
from starling_server.untrusted import shown

log = logging.getLogger(__name__)
GONE_SECONDS = 3.0
"""How long a folder must be missing: one that is replaced is away for a moment."""
PATIENCE_SECONDS = 1.0
"""How long a look at the folders waits for another one that is under way."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of memory."""

    own: int
    """Of one adapter where there is no other."""
    all: int
    """Of it and of all that are in memory, which may grow by it."""


class HoldsAdapters(Protocol):
    """A runner that adapters can be added to."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of those in memory."""
        ...

    def need(self, path: Path) -> Need:
        """What the one in `path` would take, by its header; raises AdapterError where it does not fit the base."""
        ...

    def add_adapter(self, name: str, path: Path) -> None:
        """Put one into memory; raises AdapterError where it does not fit."""
        ...

    def remove_adapter(self, name: str) -> None:
        """Let go of one whose caches are all closed."""
        ...

    def adapter_bytes(self, name: str) -> int:
        """Memory that one takes."""
        ...


@dataclass(slots=True, eq=False)
class Version:
    """A folder as it was at one time."""

    adapter: Adapter
    stamp: Stamp
    key: str
    """What the runner knows it by: name and number."""
    users: int = 0
    """Requests under way."""


@dataclass(slots=True)
class Named:
    """What one name stands for."""

    wanted: Version
    """The newest that was seen."""
    good: Version | None = None
    """The newest that could be loaded."""
    missing: float | None = None
    """Since when the folder is not there, on `time.monotonic()`'s clock."""


@dataclass(frozen=True, slots=True)
class State:
    """One name, for a person."""

    name: str
    version: str | None
    loaded: bool
    nbytes: int
    broken: str | None
    """Why its newest files are not used."""


def _keep(_: str) -> None:
    """Nothing is kept of an adapter."""


class AdapterRegistry:
    """Names to adapters of one base. The runner is touched by the thread that owns it only, the rest by any."""

    def __init__(
        self,
        runner: HoldsAdapters,
        base_id: str,
        fingerprint: str | None,
        family: str,
        most_bytes: int = 0,
        forget: Callable[[str], None] = _keep,
    ) -> None:
        """Of `most_bytes` in memory the least used go (0: none goes); `forget` drops what is kept of a version."""
        self._runner, self._forget, self._most = runner, forget, most_bytes
        self._belongs = (base_id, fingerprint, family)
        self._lock, self._scanning = threading.Lock(), threading.Lock()
        """The first is never held while the disk is asked, which may take for ever: requests wait for it."""
        self._named: dict[str, Named] = {}
        self._seen: dict[Path, Stamp] = {}
        self._broken: dict[str, str] = {}
        self._arriving = Arriving()
        self._scanned = 0.0
        """When the newest look at the folders began."""
        self._memory: dict[str, Version] = {}
        self._count = 0
        self.default: str | None = None
        """The adapter of requests that name none; None is the bare base."""

    def add(self, adapter: Adapter, stamp: Stamp | None = None) -> str:
        """Serve `adapter` and return its name; raises AdapterError where it was made for another base.

        `stamp` is of before it was read.
        """
        stamp = stamp or adapters.stamp(adapter.path)
        manifest.check(adapter.manifest, *self._belongs)
        with self._lock:
            self._count += 1
            version = Version(adapter, stamp, f"{adapter.name}@{self._count}")
            self._seen[adapter.path] = stamp
            self._broken.pop(adapter.name, None)
            self._arriving.forget(adapter.path)
            known = self._named.get(adapter.name)
            if known is None:
                self._named[adapter.name] = Named(version)
            else:
                known.wanted, known.missing = version, None
        return adapter.name

    def take(self, adapter: Adapter) -> str:
        """`add` and `ready` at once, for the thread that owns the runner; raises AdapterError for whatever is wrong."""
        try:
            name = self.add(adapter)
            self.ready(name)
        except RequestError as error:
            raise AdapterError(str(error)) from error
        return name

    def names(self) -> list[str]:
        """Every name that a request may use."""
        self.scan()
        return sorted(self._named)

    async def find(self, name: str | None) -> None:
        """`scan` where nobody knows this name yet. In a thread: a disk may take long, and everybody would wait."""
        wanted = name or self.default
        if wanted is not None and wanted != BARE and wanted not in self._named:
            await asyncio.to_thread(self.scan)

    def resolve(self, name: str | None) -> str | None:
        """A request's `adapter` to a served name, None for the bare base; raises UnknownAdapter. Asks no disk."""
        wanted = name or self.default
        if wanted is None or name == BARE:
            return None
        if wanted not in self._named:
            known = ", ".join([BARE, *sorted(self._named)])
            missing = f"There is no adapter {shown(wanted)!r} for this base: use one of {known}."
            raise UnknownAdapter(self._broken.get(wanted) or self._arriving.reason(wanted) or missing)
        return wanted

    def version(self, name: str | None) -> str | None:
        """Which version a request that begins now gets; answers of another are not its own."""
        known = self._named.get(name) if name else None
        return known.wanted.key if known else None

    def trained(self, name: str | None) -> FimRecord | None:
        """How `name`'s training prompts were cut and written, None for the bare base."""
        known = self._named.get(name) if name else None
        return known.wanted.adapter.manifest.fim if known else None

    def ready(self, name: str | None) -> str | None:
        """What the runner knows `name` by, its weights now in memory; for the thread that owns the runner.

        One that cannot be loaded is served no longer; raises UnknownAdapter with the reason.
        """
        with self.hold(name) as key:
            return key

    @contextmanager
    def hold(self, name: str | None) -> Generator[str | None]:
        """`ready`, and its version stays in memory meanwhile."""
        if name is None:
            yield None
            return
        version = self._load(name)
        version.users += 1
        try:
            yield version.key
        finally:
            version.users -= 1
            self.tidy()

    def tidy(self) -> None:
        """For the thread that owns the runner: let go of versions that nobody uses.

        Those that no name stands for, and while there are too many bytes the least recently used.
        """
        with self._lock:
            named = [version for known in self._named.values() for version in (known.wanted, known.good)]
        current = {version.key for version in named if version is not None}
        for key, version in list(self._memory.items()):
            over = 0 < self._most < self.nbytes
            if not version.users and (key not in current or over):
                self._let_go(key)

    def scan(self) -> None:
        """Look at the folders: new ones, changed ones, those that are gone.

        Where another thread has been at it for a second, all stays as it is: the disk hangs. Threads that wait for a
        look that began after they came look no more.
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
            for name, known in list(self._named.items()):
                self._look(known.wanted.adapter.path)
                self._miss(name, known)
        finally:
            self._scanning.release()

    def offer(self, name: str) -> None:
        """Serve `name`, whose folder lies with the others, as it is now; raises UnknownAdapter, BrokenAdapter."""
        folder = adapters.place(name)
        if folder is None:
            raise UnknownAdapter(f"There is no folder of an adapter {shown(name)!r} here: train or copy it first.")
        try:
            stamp = adapters.stamp(folder)
            if self._seen.get(folder) != stamp or name not in self._named or name in self._broken:
                self.add(_judged(folder), stamp)
        except AdapterError as error:
            raise BrokenAdapter(str(error)) from error

    def withdraw(self, name: str) -> None:
        """Serve `name` no longer, until its files change or it is offered again; raises UnknownAdapter."""
        with self._lock:
            if self._named.pop(name, None) is None:
                raise UnknownAdapter(f"There is no adapter {shown(name)!r} here: GET /v1/adapters lists them.")
            self._broken.pop(name, None)

    def states(self) -> list[State]:
        """Every name, those that are broken too."""
        self.scan()
        with self._lock:
            return [self._state(name) for name in sorted(self._named.keys() | self._broken.keys())]

    @property
    def loaded(self) -> int:
        """Versions in memory."""
        return len(self._memory)

    @property
    def nbytes(self) -> int:
        """Their bytes."""
        return sum(self._runner.adapter_bytes(key) for key in tuple(self._memory))

    def _load(self, name: str) -> Version:
        """The version for a request that begins now, in memory; loading may take long and holds no lock."""
        with self._lock:
            known = self._named.get(name)
        if known is None:  # withdrawn while the request waited
            raise UnknownAdapter(f"Adapter {name!r} is served no longer: ask for another.")
        version = known.wanted
        if version.key not in self._memory:
            try:
                self._make_room(version.adapter.path, known.good)
                self._runner.add_adapter(version.key, version.adapter.path)
            except AdapterError as error:
                return self._fall_back(name, known, str(error).replace(repr(version.key), repr(name)))
        self._memory[version.key] = self._memory.pop(version.key, version)  # the last is the newest used
        known.good = version
        return version

    def _make_room(self, path: Path, former: Version | None) -> None:
        """Let go of what nobody uses until the adapter in `path` fits; raises AdapterError where it never would.

        Its `former` version stays: it is needed where the new one turns out to be damaged.
        """
        need = self._runner.need(path)
        if 0 < self._most < need.own:
            raise AdapterError(
                f"The adapter in {shown(path)} takes {need.own / 2**20:,.1f} MiB and --adapters-mb allows "
                f"{self._most / 2**20:,.1f}: raise it, or train with a lower --rank."
            )
        idle = [key for key, version in self._memory.items() if not version.users and version is not former]
        while 0 < self._most < need.all and idle:
            self._let_go(idle.pop(0))
            need = self._runner.need(path)

    def _let_go(self, key: str) -> None:
        self._forget(key)
        self._runner.remove_adapter(key)
        del self._memory[key]

    def _fall_back(self, name: str, known: Named, reason: str) -> Version:
        """What to serve instead of a version that cannot be loaded; raises UnknownAdapter where there is nothing."""
        path = known.wanted.adapter.path
        if adapters.stamp(path) != known.wanted.stamp and just_changed(path):
            return self._former(known, f"Adapter {name!r} is being replaced on the disk: ask again in a moment.")
        with self._lock:
            self._broken[name] = reason
            if known.good is not None and known.good.key in self._memory:
                log.error("%s The former version stays.", reason)
                known.wanted = known.good
                return known.good
            self._named.pop(name, None)
        log.error("%s Nothing is served under this name.", reason)
        raise UnknownAdapter(reason)

    def _former(self, known: Named, reason: str) -> Version:
        """The version before, while the next is on its way; raises UnknownAdapter where there is none."""
        if known.good is not None and known.good.key in self._memory:
            return known.good
        raise UnknownAdapter(reason)

    def _look(self, folder: Path) -> None:
        """Take notice of a folder that is new or has changed; one of another base is none of ours."""
        stamp = adapters.stamp(folder)
        if self._seen.get(folder) == stamp:
            return
        try:
            adapter = _judged(folder)
        except AdapterError as error:
            if self._arriving.still(folder, stamp, str(error)):
                self._seen[folder] = stamp
                self._refuse(folder, str(error))
            return
        self._seen[folder] = stamp
        known = self._named.get(adapter.name)
        if known is not None and known.wanted.adapter.path != adapter.path:
            return  # one was named by its folder, and another of this name lies with the others
        try:
            self.add(adapter, stamp)
        except AdapterError as error:
            if known is not None:
                self._refuse(folder, str(error))

    def _refuse(self, folder: Path, reason: str) -> None:
        """Report a folder whose new files cannot be served; one that is away is only waited for."""
        if not adapters.servable(folder.name):
            log.error("%s", reason)
            return
        known = self._named.get(folder.name)
        if known is not None and known.wanted.adapter.path != folder:
            return
        if folder in self._seen and folder.is_dir() and self._broken.get(folder.name) != reason:
            log.error("%s%s", reason, " The former version stays." if known else "")
            self._broken[folder.name] = reason

    def _miss(self, name: str, known: Named) -> None:
        """Stop serving what has been gone for long."""
        folder, now = known.wanted.adapter.path, monotonic()
        if folder.is_dir():
            known.missing = None
        elif known.missing is None:
            known.missing = now
        elif now - known.missing > GONE_SECONDS:
            log.warning("adapter %s is gone from the disk: it is served no longer", name)
            with self._lock:
                self._seen.pop(folder, None)
                self._named.pop(name, None)
                self._broken.pop(name, None)

    def _state(self, name: str) -> State:
        known = self._named.get(name)
        key = known.wanted.key if known else None
        loaded = key in self._memory
        nbytes = self._runner.adapter_bytes(key) if key and loaded else 0
        return State(name, key, loaded, nbytes, self._broken.get(name))


def _judged(folder: Path) -> Adapter:
    """The adapter in `folder`; raises AdapterError for whatever its manifest, configuration and header show."""
    adapter = adapters.load(folder)
    lora.outline(adapter.path)
    return adapter
