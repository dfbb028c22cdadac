"""The adapters that one loaded base can serve: checked when they are named, put into memory when first used."""

from pathlib import Path
from typing import Protocol

from starling_server import adapters, manifest
from starling_server.adapters import BARE, Adapter
from starling_server.errors import AdapterError, UnknownAdapter
from starling_server.manifest import FimRecord


class TakesAdapters(Protocol):
    """A runner that adapters can be added to."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of those in memory."""
        ...

    def add_adapter(self, name: str, path: Path) -> None:
        """Put one into memory; raises AdapterError where it does not fit."""
        ...


class Shelf:
    """Names to adapters of one base."""

    def __init__(self, runner: TakesAdapters, base_id: str, fingerprint: str | None, family: str) -> None:
        self._runner = runner
        self._belongs = (base_id, fingerprint, family)
        self._named: dict[str, Adapter] = {}
        self.default: str | None = None
        """The adapter of requests that name none; None is the bare base."""

    def add(self, adapter: Adapter) -> str:
        """Serve `adapter` and return its name; raises AdapterError where it was made for another base."""
        manifest.check(adapter.manifest, *self._belongs)
        self._named[adapter.name] = adapter
        return adapter.name

    def names(self) -> list[str]:
        """Every name that a request may use."""
        self._discover()
        return sorted(self._named)

    def resolve(self, name: str | None) -> str | None:
        """A request's `adapter` to a served name, None for the bare base; raises UnknownAdapter."""
        if name == BARE:
            return None
        wanted = name or self.default
        if wanted is None or wanted in self._named:
            return wanted
        self._discover()
        if wanted not in self._named:
            known = ", ".join([BARE, *sorted(self._named)])
            raise UnknownAdapter(f"There is no adapter {wanted!r} for this base: use one of {known}.")
        return wanted

    def ready(self, name: str | None) -> str | None:
        """`name` itself, its weights now in memory; only the thread that owns the runner may call this.

        One that cannot be loaded is served no longer; raises UnknownAdapter with the reason.
        """
        if name is not None and name not in self._runner.adapters:
            try:
                self._runner.add_adapter(name, self._named[name].path)
            except AdapterError as error:
                del self._named[name]
                raise UnknownAdapter(str(error)) from error
        return name

    def trained(self, name: str | None) -> FimRecord | None:
        """How `name`'s training prompts were cut and written, None for the bare base."""
        return self._named[name].manifest.fim if name else None

    def _discover(self) -> None:
        for adapter in adapters.every():
            if adapter.name not in self._named:
                try:
                    self.add(adapter)
                except AdapterError:
                    continue  # one of another base: not for this server
