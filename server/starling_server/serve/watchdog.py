"""Watchdog of the service: loads it, monitors its worker and its adapters, and reloads it after a hang.

A thread that hangs inside a forward cannot be killed. It is abandoned with the model that it owns; waiting requests
fail, and the model is loaded again beside it, with its own worker. If that fails, or happens too often, the process
should exit: `GaveUp`.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from starling_server.completion.service import Service
from starling_server.serve.start import in_daemon_thread

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.25
"""Seconds between checks of the worker."""
SCAN_SECONDS = 2.0
"""Seconds between scans of the adapters' folders, by name and time, which also works on network disks."""
MOST_RELOADS, RELOADS_SECONDS = 3, 600.0
"""Max reloads within a period, in seconds, before giving up."""


class GaveUp(Exception):
    """The model could not be brought back; a supervisor should start the process anew."""


class Watchdog:
    """Looks after one service at a time. For one event loop."""

    def __init__(
        self, load: Callable[[], Service], stall_seconds: float, serve: Callable[[Service | None], None]
    ) -> None:
        """`load` makes a service, in a thread of its own; `serve` hears which one answers from now on, None for none.

        A worker that is silent for `stall_seconds` hangs.
        """
        self._load, self._stall, self._serve = load, stall_seconds, serve
        self._reloads: deque[float] = deque(maxlen=MOST_RELOADS)
        self._service: Service | None = None
        self._ended = False
        self._scan = threading.Thread()

    async def start(self) -> None:
        """Load; raises what `load` raises."""
        self._service = await asyncio.wrap_future(in_daemon_thread(self._load))
        self._serve(self._service)

    def end(self) -> None:
        """Stop watching: from now on the model's thread ends because it is told to."""
        self._ended = True

    async def watch(self) -> None:
        """Run until `end`; raises GaveUp."""
        scanned = monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._ended:
                return
            service = self._service
            assert service is not None
            if reason := self._trouble(service):
                await self._replace(service, reason)
            elif monotonic() - scanned > SCAN_SECONDS:
                self.look()
                scanned = monotonic()

    def look(self) -> None:
        """Start a scan of the adapters' folders, unless one is running; it is not awaited, since a disk may hang."""
        if self._service is None or self._scan.is_alive():
            return
        self._scan = threading.Thread(target=_scan, args=[self._service], name="starling-scan", daemon=True)
        self._scan.start()

    def _trouble(self, service: Service) -> str:
        if not service.scheduler.alive:
            return "has died"
        silent = service.scheduler.silent
        return f"has been silent for {silent:.0f} s" if silent > self._stall else ""

    async def _replace(self, service: Service, reason: str) -> None:
        log.error("the model's thread %s: waiting requests get 503, and the model is being reloaded", reason)
        self._service = None
        self._serve(None)
        service.scheduler.abandon()
        now = monotonic()
        if len(self._reloads) == MOST_RELOADS and now - self._reloads[0] < RELOADS_SECONDS:
            raise GaveUp(f"The model was reloaded {MOST_RELOADS} times within {RELOADS_SECONDS:.0f} seconds.")
        self._reloads.append(now)
        try:
            await self.start()
        except Exception as error:
            raise GaveUp(f"The model could not be reloaded ({type(error).__name__}).") from error
        log.warning("the model was reloaded")


def _scan(service: Service) -> None:
    """Scan the adapters' folders; a disk failure does not stop serving."""
    try:
        service.adapters.scan()
    except OSError as error:
        log.error(
            "the adapters' folders cannot be read (%s): the adapters in service stay; make the folders readable",
            error.strerror,
        )
