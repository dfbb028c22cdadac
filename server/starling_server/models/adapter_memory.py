"""Versions of adapters in a runner's memory: loaded when first used, kept while in use, evicted when bytes run out."""

from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from starling_server.errors import AdapterError
from starling_server.models.adapter_versions import AdapterKey, AdapterVersion
from starling_server.untrusted import shown


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of memory."""

    own: int
    """Of one adapter where there is no other."""
    all: int
    """Of it and of all that are in memory, which may grow by it."""


class HoldsAdapters(Protocol):
    """A runner that adapters can be added to."""

    def need(self, path: Path) -> Need:
        """Memory that the adapter in `path` would take, by its header; raises AdapterError where it does not fit."""
        ...

    def add_adapter(self, name: AdapterKey, path: Path) -> None:
        """Load one into memory; raises AdapterError where it does not fit."""
        ...

    def remove_adapter(self, name: AdapterKey) -> None:
        """Unload one whose caches are all closed."""
        ...

    def adapter_bytes(self, name: AdapterKey) -> int:
        """Memory that one takes."""
        ...


Forget = Callable[[AdapterKey], None]
"""Drops what is cached under a version."""


def _keep(_: AdapterKey) -> None:
    """Nothing is cached under a version."""


class AdapterMemory:
    """Loaded versions, least recently used first. For the thread that owns the runner, but for what is only read."""

    def __init__(self, runner: HoldsAdapters, max_bytes: int = 0, forget: Forget = _keep) -> None:
        """Above `max_bytes` the least recently used versions are evicted (0: none is)."""
        self._runner, self._forget, self._max = runner, forget, max_bytes
        self._loaded: dict[AdapterKey, AdapterVersion] = {}
        self._users: dict[AdapterKey, int] = {}
        """Requests under way; versions without any are absent."""

    def __len__(self) -> int:
        return len(self._loaded)

    def __contains__(self, version: AdapterVersion | None) -> bool:
        return version is not None and version.key in self._loaded

    @property
    def nbytes(self) -> int:
        """Bytes of all loaded versions."""
        return sum(self._runner.adapter_bytes(key) for key in tuple(self._loaded))

    def bytes_of(self, version: AdapterVersion) -> int:
        """Bytes of one version, 0 where it is not loaded."""
        return self._runner.adapter_bytes(version.key) if version in self else 0

    def load(self, version: AdapterVersion, former: AdapterVersion | None) -> None:
        """Load `version`, where it is not loaded yet; takes long, and raises AdapterError where it cannot be used.

        `former` is not evicted for it: it is needed where the new version turns out to be damaged.
        """
        if version not in self:
            try:
                self._make_room(version.adapter.path, former)
                self._runner.add_adapter(version.key, version.adapter.path)
            except AdapterError as error:
                raise AdapterError(str(error).replace(repr(version.key), repr(version.name))) from error
        self._loaded[version.key] = self._loaded.pop(version.key, version)  # last is most recently used

    @contextmanager
    def using(self, version: AdapterVersion) -> Generator[None]:
        """Keep a loaded version meanwhile."""
        self._users[version.key] = self._users.get(version.key, 0) + 1
        try:
            yield
        finally:
            self._users[version.key] -= 1
            if not self._users[version.key]:
                del self._users[version.key]

    def tidy(self, current: Collection[AdapterKey]) -> None:
        """Evict unused versions that are not `current`, and the least recently used while there are too many bytes."""
        for key in list(self._loaded):
            over = 0 < self._max < self.nbytes
            if key not in self._users and (key not in current or over):
                self._evict(key)

    def _make_room(self, path: Path, former: AdapterVersion | None) -> None:
        """Evict unused versions until the adapter in `path` fits; raises AdapterError where it never would."""
        need = self._runner.need(path)
        if 0 < self._max < need.own:
            raise AdapterError(
                f"The adapter in {shown(path)} takes {need.own / 2**20:,.1f} MiB and --adapters-mb allows "
                f"{self._max / 2**20:,.1f}: raise it, or train with a lower --rank."
            )
        idle = [key for key, version in self._loaded.items() if key not in self._users and version != former]
        while 0 < self._max < need.all and idle:
            self._evict(idle.pop(0))
            need = self._runner.need(path)

    def _evict(self, key: AdapterKey) -> None:
        self._forget(key)
        self._runner.remove_adapter(key)
        del self._loaded[key]
