"""The adapters that one loaded base can serve: checked when they are named, loaded when first used.

A name stands for the folder as it was last seen. When its files change, requests that begin from then on get the new
version and those under way keep theirs; a new version that cannot be loaded leaves the old one in place.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starling_server.errors import AdapterError, BrokenAdapter, RequestError, UnfinishedAdapter, UnknownAdapter
from starling_server.models import adapters, manifest
from starling_server.models.adapter_folders import Folders, judged, just_changed, unfinished
from starling_server.models.adapter_memory import AdapterMemory
from starling_server.models.adapter_versions import AdapterKey, AdapterVersion, Named, Names
from starling_server.models.adapters import BARE, Adapter, Stamp
from starling_server.untrusted import shown


@dataclass(frozen=True, slots=True)
class State:
    """One name, for a person."""

    name: str
    version: AdapterKey | None
    loaded: bool
    nbytes: int
    broken: str | None
    """Why its newest files are not used."""


class AdapterRegistry:
    """Names to versions of adapters of one base. Only the thread that owns the runner loads, tidies and holds."""

    def __init__(
        self,
        memory: AdapterMemory,
        base_id: str,
        fingerprint: str | None,
        family: str,
        kin: str | None = None,
        gguf: bool = False,
    ) -> None:
        """What adapters must have been trained on, as `manifest.check` compares it."""
        self._memory = memory
        self._belongs = (base_id, fingerprint, family, kin, gguf)
        self._names = Names()
        self._folders = Folders(self._names, self._serve)
        self.default: str | None = None
        """The adapter of requests that name none; None is the bare base."""

    def add(self, adapter: Adapter) -> str:
        """Serve `adapter` and return its name; raises AdapterError where it was made for another base."""
        self._serve(adapter, adapters.stamp(adapter.path))
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
        return sorted(name for name, _ in self._names.items())

    async def find(self, name: str | None) -> None:
        """`scan` where this name is unknown yet, in a thread: a disk may take long."""
        wanted = name or self.default
        if wanted is not None and wanted != BARE and wanted not in self._names:
            await asyncio.to_thread(self.scan)

    def resolve(self, name: str | None) -> AdapterVersion | None:
        """The version that a request for `name` gets now, None for the bare base; raises UnknownAdapter.

        Never touches the disk.
        """
        wanted = name or self.default
        if wanted is None or name == BARE:
            return None
        known = self._names.get(wanted)
        if known is None:
            served = ", ".join([BARE, *sorted(name for name, _ in self._names.items())])
            missing = f"There is no adapter {shown(wanted)!r} for this base: use one of {served}."
            raise UnknownAdapter(self._folders.arriving.reason(wanted) or self._names.broken(wanted) or missing)
        return known.wanted

    def ready(self, name: str) -> AdapterKey:
        """Load `name`'s newest version and return its key; for the thread that owns the runner.

        A name whose version cannot be loaded is served no longer; raises UnknownAdapter with the reason.
        """
        version = self._load(self._names.known(name).wanted)
        self.tidy()
        return version.key

    @contextmanager
    def hold(self, version: AdapterVersion | None) -> Generator[AdapterVersion | None]:
        """Load `version` and keep it in memory meanwhile; for the thread that owns the runner.

        Yields another version of the name only where this one cannot be loaded: its files were replaced or are
        damaged. Raises UnknownAdapter where there is none.
        """
        if version is None:
            yield None
            return
        held = self._load(version)
        try:
            with self._memory.using(held):
                yield held
        finally:
            self.tidy()

    def tidy(self) -> None:
        """Evict unused versions that no name stands for, or that are too much; for the thread that owns the runner."""
        self._memory.tidy(self._names.current())

    def scan(self) -> None:
        """Look at the folders for new, changed and missing ones."""
        self._folders.scan()

    def offer(self, name: str) -> None:
        """Serve the adapter in the folder `name` as it is now.

        Raises UnknownAdapter without such a folder, UnfinishedAdapter while its files are incomplete and changing, and
        BrokenAdapter if they are damaged or belong to another base.
        """
        folder = adapters.place(name)
        if folder is None:
            raise UnknownAdapter(f"There is no adapter folder {shown(name)!r} on this server: train or copy it first.")
        stamp = adapters.stamp(folder)
        if self._folders.is_seen(folder, stamp) and name in self._names and not self._names.broken(name):
            return
        try:
            self._serve(self._judged(folder, stamp), stamp)
        except AdapterError as error:
            raise BrokenAdapter(str(error)) from error

    def _judged(self, folder: Path, stamp: Stamp) -> Adapter:
        """The adapter in `folder`; raises AdapterError if it is damaged, UnfinishedAdapter if it is still changing."""
        try:
            return judged(folder)
        except AdapterError as error:
            if self._folders.is_still(folder, stamp):
                raise
            raise UnfinishedAdapter(unfinished(folder.name)) from error

    def withdraw(self, name: str) -> None:
        """Stop serving `name` until its files change or it is offered again; raises UnknownAdapter."""
        if name not in self._names or not self._names.drop(name):
            raise UnknownAdapter(f"There is no adapter {shown(name)!r} on this server: GET /v1/adapters lists them.")

    def states(self) -> list[State]:
        """Every name, broken ones included."""
        self.scan()
        return [_state(name, self._names, self._memory) for name in self._names.all()]

    @property
    def loaded(self) -> int:
        """Number of versions in memory."""
        return len(self._memory)

    @property
    def nbytes(self) -> int:
        """Bytes of the versions in memory."""
        return self._memory.nbytes

    def _serve(self, adapter: Adapter, stamp: Stamp) -> None:
        """Serve `adapter`, whose files had `stamp` before they were read; raises AdapterError for another base's."""
        manifest.check(adapter.manifest, *self._belongs)
        self._folders.saw(adapter.path, stamp)
        self._names.add(adapter, stamp)

    def _load(self, version: AdapterVersion) -> AdapterVersion:
        """`version` in memory; where it is not there and its files have been replaced, the newest of its name."""
        known = self._names.known(version.name)
        wanted = version if version in self._memory else known.wanted
        try:
            self._memory.load(wanted, known.good)
        except AdapterError as error:
            return self._former(wanted, known, str(error))
        if wanted == known.wanted:
            known.good = wanted
        return wanted

    def _former(self, failed: AdapterVersion, known: Named, reason: str) -> AdapterVersion:
        """The version before one that could not be loaded; raises UnknownAdapter where there is none."""
        path = failed.adapter.path
        former = known.good if known.good in self._memory else None
        if adapters.stamp(path) != failed.stamp and (just_changed(path) or path in self._folders.arriving):
            reason = f"The files of adapter {failed.name!r} are being replaced: ask again when the copy is complete."
        else:
            self._names.fall_back(failed.name, former, reason)
        if former is None:
            raise UnknownAdapter(reason)
        return former


def _state(name: str, names: Names, memory: AdapterMemory) -> State:
    known = names.get(name)
    version = known.wanted if known else None
    nbytes = memory.bytes_of(version) if version else 0
    return State(name, version.key if version else None, version in memory, nbytes, names.broken(name))
