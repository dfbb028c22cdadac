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

    def of(self, folder: Path | None) -> str | None:
        """The adapter trained on `folder`; None if there is none for this base."""
        if folder is None:
            return None
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
    """The requested adapter, else the first folder's own that fits the base; raises AdapterError."""
    if options.adapter == BARE:
        return None
    if options.adapter:
        return adapters.find(options.adapter)
    found = (own for root in roots if (own := adapters.for_workspace(root)))
    return next((own for own in found if options.base in ("auto", own.manifest.base.id)), None)
