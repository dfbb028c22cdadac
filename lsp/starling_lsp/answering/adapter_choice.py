"""Choice of a folder's adapter."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from starling_lsp.options import Options
from starling_server.models import adapters
from starling_server.models.adapters import BARE, Adapter

log = logging.getLogger(__name__)
MOST_FOLDERS = 256
"""Max number of cached folders: without a workspace, every folder that contains a document is looked up."""


class Choice:
    """Looks up the adapters of folders; results are cached for `MOST_FOLDERS` folders."""

    def __init__(self) -> None:
        self._known: dict[Path, str | None] = {}
        self.served: Sequence[str] = ()
        """Names of the served adapters."""

    def of(self, around: Sequence[Path]) -> str | None:
        """The adapter of the first of these folders that has one, or is in a folder that has one; None without any."""
        return next((found for folder in around if (found := self._of(folder))), None)

    def _of(self, folder: Path) -> str | None:
        if folder not in self._known:
            self._known[folder] = self._look_up(folder)
        found = self._known[folder]
        if len(self._known) > MOST_FOLDERS:
            del self._known[next(iter(self._known))]
        return found

    def _look_up(self, folder: Path) -> str | None:
        own = adapters.for_workspace(folder)
        if own is None or own.name in self.served:
            return own.name if own else None
        log.warning("adapter %s of %s is not served for this base: train it again on this base", own.name, folder)
        return None


def first_adapter(options: Options, roots: Iterable[Path]) -> Adapter | None:
    """The requested adapter, else the first folder's own that fits the base; raises AdapterError.

    Where no folder has one, the newest that was trained on a folder inside one of them: the editor may have the parent
    of several projects open.
    """
    if options.adapter == BARE:
        return None
    if options.adapter:
        return adapters.find(options.adapter)
    known = tuple(roots)
    own = [found for root in known if (found := adapters.for_workspace(root))]
    return next((found for found in own or _inside(known) if options.base in ("auto", found.manifest.base.id)), None)


def _inside(roots: Iterable[Path]) -> list[Adapter]:
    """The adapters of folders inside these, newest first."""
    tops = [root.resolve() for root in roots]
    trained = [(Path(found.manifest.workspace), found) for found in adapters.every() if found.manifest.workspace]
    inside = [found for folder, found in trained if any(folder.is_relative_to(top) for top in tops)]
    return sorted(inside, key=lambda found: found.manifest.created, reverse=True)
