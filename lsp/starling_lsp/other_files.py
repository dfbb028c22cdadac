"""What requests carry of other files: one index for each workspace folder, and the choice for a cursor.

A choice is made in a thread, and a request waits for it 5 ms at most. One that comes later is left: the next rest makes
it again. Everything is off where the model has not learnt to read other files, and for files outside the folders.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starling_lsp import state
from starling_lsp.progress import Report
from starling_server.schema import ContextPiece

if TYPE_CHECKING:
    from starling_server.context.choice import Renew
    from starling_server.context.workspace import Workspace

log = logging.getLogger(__name__)
DEADLINE = 0.005
"""Seconds that a request waits for a choice."""
NEEDED = ("numpy", "tree_sitter", "pathspec", "detect_secrets")
"""Modules of the extra `context`."""
MOST_ROOTS, MOST_HELD = 16, 64
"""Folders that are indexed at most, and files whose pieces are kept."""
Shown = Callable[[Path, Callable[[], None]], AbstractAsyncContextManager[Report]]
"""Shows a folder's progress in the editor; the function cancels it."""


@dataclass(frozen=True, slots=True)
class Where:
    """A cursor as a request has it."""

    path: Path
    prefix: str
    suffix: str
    adapter: str | None


class OtherFiles:
    """The indexes of one editor. Every method is called on the event loop."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._workspaces: dict[Path, Workspace] = {}
        self._showing = dict[Path, asyncio.Task[None]]()
        self._pool = ThreadPoolExecutor(1, "context")
        self._choosing: asyncio.Future[tuple[ContextPiece, ...]] | None = None
        self._tokens = dict[str | None, int]()
        """Max tokens by adapter, as answers say."""
        self._roots, self._held = list[Path](), OrderedDict[Path, tuple[ContextPiece, ...]]()
        self._late = set[Path]()
        """Files whose choice did not come in time: it is used from the next rest on."""
        self._opening: asyncio.Task[None] | None = None
        self.last: tuple[ContextPiece, ...] = ()
        """What the last request carried."""

    @property
    def files(self) -> int:
        """Files in all indexes that are complete."""
        return sum(len(each.index) for each in self._workspaces.values() if each.usable)

    def follow(self, roots: Sequence[Path]) -> None:
        """Index these folders from now on, and no others; waits until some model reads them."""
        self._roots = list(roots)[:MOST_ROOTS]
        for root in [root for root in self._workspaces if root not in self._roots]:
            self._workspaces.pop(root).stop()
        if any(self._tokens.values()):
            self._open()

    def learn(self, adapter: str | None, tokens: int | None) -> None:
        """An answer under `adapter` said how many tokens of other files it reads; None says nothing."""
        if tokens is not None:
            self._tokens[adapter] = tokens
            if tokens:
                self._open()

    def changed(self, paths: Iterable[Path]) -> None:
        """Files or folders were saved, created, deleted or renamed."""
        for path in paths:
            root = self._root(path)
            if root is not None:
                self._workspaces[root].changed([path.relative_to(root).as_posix()])

    def renamed(self, old: Path, new: Path) -> None:
        """A file or folder has another name."""
        root = self._root(old)
        if root is not None and root == self._root(new):
            self._workspaces[root].renamed(old.relative_to(root).as_posix(), new.relative_to(root).as_posix())
        else:
            self.changed((old, new))

    async def context(self, where: Where, renew: "Renew" = "jump") -> tuple[ContextPiece, ...]:
        """The pieces that a request carries; those of the request before where the choice is not made in time."""
        chosen = self._choose(where, renew) if where.path not in self._late else None
        if chosen is not None:
            done, _ = await asyncio.wait([chosen], timeout=DEADLINE)
            if not done:
                self._late.add(where.path)
            elif not chosen.exception():  # `_log_fault` reports one
                self._hold(where.path, chosen.result())
        return self._carried(where)

    async def at_rest(self, where: Where, renew: "Renew") -> bool:
        """Choose again without a deadline, as far as `renew` says; returns whether the choice has changed."""
        before = self._held.get(where.path, ())
        chosen = self._choose(where, renew)
        if chosen is not None:
            with suppress(Exception):  # `_log_fault` reports it
                self._hold(where.path, await chosen)
                self._late.discard(where.path)
        return self._carried(where) != before

    def close(self) -> None:
        """End all threads."""
        for workspace in self._workspaces.values():
            workspace.stop()
        for task in (self._opening, *self._showing.values()):
            if task is not None:
                task.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _hold(self, path: Path, pieces: tuple[ContextPiece, ...]) -> None:
        self._held[path] = pieces
        self._held.move_to_end(path)
        while len(self._held) > MOST_HELD:
            forgotten, _ = self._held.popitem(last=False)
            self._late.discard(forgotten)

    def _carried(self, where: Where) -> tuple[ContextPiece, ...]:
        root = self._root(where.path)
        usable = root is not None and self._workspaces[root].usable and self._tokens.get(where.adapter, 0)
        self.last = self._held.get(where.path, ()) if usable else ()
        log.debug("other files: %s", ", ".join(f"{piece.path} ({piece.why})" for piece in self.last) or "none")
        return self.last

    def _choose(self, where: Where, renew: "Renew") -> "asyncio.Future[tuple[ContextPiece, ...]] | None":
        """Begin a choice; None where there is nothing to choose from, or another choice is still being made."""
        tokens, root = self._tokens.get(where.adapter, 0), self._root(where.path)
        if not tokens or root is None or not self._workspaces[root].usable:
            return None
        if self._choosing is not None and not self._choosing.done():
            return None
        loop, workspace = asyncio.get_running_loop(), self._workspaces[root]
        path = where.path.relative_to(root).as_posix()
        self._choosing = loop.run_in_executor(self._pool, _chosen, workspace, path, where, tokens, renew)
        self._choosing.add_done_callback(_log_fault)
        return self._choosing

    def _root(self, path: Path) -> Path | None:
        """The innermost indexed folder around `path`."""
        around = [root for root in self._workspaces if path.is_relative_to(root)]
        return max(around, key=lambda root: len(root.parts), default=None)

    def _open(self) -> None:
        """Make indexes for the folders that have none."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open_all())
            self._opening.add_done_callback(_log_fault)

    async def _open_all(self) -> None:
        if all(root in self._workspaces for root in self._roots):
            return
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            log.info("Other files are not used: %s missing (pip install 'starling[context]').", ", ".join(missing))
            self._roots.clear()  # every answer comes here
            return
        await asyncio.to_thread(import_module, "starling_server.context.workspace")
        from starling_server.context.workspace import Workspace

        for root in self._roots:
            if root not in self._workspaces and root.is_dir():
                self._workspaces[root] = workspace = Workspace(root, state.folder() / "indexes")
                self._showing[root] = asyncio.create_task(self._build(workspace))
                self._showing[root].add_done_callback(_log_fault)

    async def _build(self, workspace: "Workspace") -> None:
        """Start the index's thread, and show its progress until the folder was read."""
        loop = asyncio.get_running_loop()
        async with self._shown(workspace.folder, workspace.stop) as report:
            read = asyncio.Event()
            workspace.start(partial(_tell, loop, report), partial(_tell, loop, read.set))
            await read.wait()
        log.debug("indexed %s: %d files", workspace.folder, len(workspace.index))


def _tell(loop: asyncio.AbstractEventLoop, listener: Callable[..., object], *said: int) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(listener, *said)


def _chosen(workspace: "Workspace", path: str, where: Where, tokens: int, renew: "Renew") -> tuple[ContextPiece, ...]:
    """In the pool's thread."""
    from starling_server.context.choice import Place
    from starling_server.context.wire import carried
    from starling_server.prompt.cursor import normalize

    place = Place(path, normalize(where.prefix), normalize(where.suffix))
    return carried(workspace.chooser.pieces(place, tokens, renew))


def _log_fault(done: asyncio.Future[Any]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("other files are not used", exc_info=error)
