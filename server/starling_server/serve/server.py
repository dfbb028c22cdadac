"""A server process: it answers requests while the model loads, and shuts down within a time limit."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import click
import uvicorn

from starling_server.auth import TokenStore
from starling_server.completion.service import Service
from starling_server.config import AccessConfig
from starling_server.garbage import freeze_loaded
from starling_server.http.app import create_app
from starling_server.http.complete import Api
from starling_server.http.middleware.access import Access
from starling_server.http.middleware.connection_limits import HEAD_BYTES, IDLE_SECONDS, limited, most_connections
from starling_server.http.middleware.limits import Allowances
from starling_server.http.middleware.metrics import Metrics
from starling_server.listen import url
from starling_server.serve.watchdog import GaveUp, Watchdog

log = logging.getLogger(__name__)
FINISH_SECONDS = 1.5
"""Max seconds for running requests after a signal; after that they return partial output."""
STOP_SECONDS = 3
"""Max seconds to wait for running requests at shutdown; after that their connections are closed."""
WORKER_SECONDS = 0.5
"""Max seconds to wait for the worker thread at exit; it is a daemon thread."""
SWITCH_SECONDS = 0.0005
"""How long the event loop waits for the interpreter's lock while the model's thread holds it; Python's own is 0.005.

A small model is Python for the most part, and every call of the system gives the lock away: at 5 ms each, 64 people
typing kept the loop so far behind that answers took 14 seconds (benchmarks/README.md, "Many people on one server").
"""
GAVE_UP = 70
"""Exit status where the model cannot be brought back: EX_SOFTWARE of sysexits.h, for a supervisor to start anew."""


class Serving:
    """One server for one event loop."""

    def __init__(
        self,
        load: Callable[[], Service],
        tokens: TokenStore,
        config: AccessConfig,
        stall_seconds: float,
        idle_seconds: float = 0,
    ) -> None:
        """`load` makes the service, in a thread of its own; after `idle_seconds` without a request, if any, it ends."""
        self._api, self._idle_seconds = Api(), idle_seconds
        self._metrics = Metrics(lambda: self._api.service)
        self._watchdog = Watchdog(load, stall_seconds, self._take)
        self._tokens = tokens
        access = Access(tokens, frozenset(map(str.lower, config.allow_host)), frozenset(config.allow_origin))
        allowances = Allowances(config.client_rate, config.client_concurrency)
        self._app = create_app(self._api, self._metrics, access, allowances)
        self._loads = 0

    def run(self, listener: socket.socket) -> int:
        """Serve until SIGTERM, and say with which status to end: 0 or GAVE_UP.

        Raises KeyboardInterrupt after Ctrl-C, and what loading raises.
        """
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            if asyncio.run(self._serve(listener)) == signal.SIGINT:
                raise KeyboardInterrupt
        except GaveUp as error:
            log.error("%s The process exits, so that its supervisor can restart it.", error)
            return GAVE_UP
        return 0

    async def _serve(self, listener: socket.socket) -> int | None:
        """Until a signal, which it returns."""
        server = _Server(self._config(), self._end)
        self._heed_hangup(server)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        watching = asyncio.create_task(self._look_after(listener, server))
        await asyncio.wait([serving, watching], return_when=asyncio.FIRST_COMPLETED)
        try:
            if watching.done():
                watching.result()
        finally:
            server.should_exit = True
            await serving
            watching.cancel()
            if self._api.service is not None:
                self._api.service.close(WORKER_SECONDS)
        return server.stopped_by

    async def _look_after(self, listener: socket.socket, server: uvicorn.Server) -> None:
        await self._watchdog.start()
        click.echo(f"Listening on {url(listener)}")
        ending = asyncio.create_task(self._end_when_idle(server)) if self._idle_seconds else None
        try:
            await self._watchdog.watch()
        finally:
            if ending is not None:
                ending.cancel()

    async def _end_when_idle(self, server: uvicorn.Server) -> None:
        await self._api.activity.until_idle(self._idle_seconds)
        log.info("no request for %g minutes: exiting", self._idle_seconds / 60)
        server.should_exit = True

    def _heed_hangup(self, server: "_Server") -> None:
        """Decide what SIGHUP means, by how the process was started.

        Under nohup it stays ignored. With a controlling terminal, closing the terminal ends the server. Without a
        terminal the server reloads its tokens and adapters.
        """
        hangup = getattr(signal, "SIGHUP", None)
        if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN:
            return
        heed = (lambda: server.handle_exit(hangup, None)) if has_terminal() else self._read_again
        asyncio.get_running_loop().add_signal_handler(hangup, heed)

    def _read_again(self) -> None:
        """Reload tokens and adapters from disk."""
        log.info("SIGHUP: reloading tokens and adapters")
        self._tokens.read_again()
        self._watchdog.look()

    def _take(self, service: Service | None) -> None:
        """Answer with `service` from now on."""
        if service is not None:
            service.observer = self._metrics
            self._metrics.reloads.inc(min(self._loads, 1))
            self._loads += 1
            freeze_loaded()
        self._api.service = service

    def _end(self) -> None:
        self._watchdog.end()
        if self._api.service is not None:
            self._api.service.scheduler.end()

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            http=limited(most_connections()),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_graceful_shutdown=STOP_SECONDS,
        )


def has_terminal() -> bool:
    """Whether this process would lose a terminal if that one were closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


class _Server(uvicorn.Server):
    """Keeps the signal to itself, so that the process ends with a status of its own, and lets requests finish."""

    def __init__(self, config: uvicorn.Config, end: Callable[[], None]) -> None:
        super().__init__(config)
        self._finish = end
        self.stopped_by: int | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second Ctrl-C stops without waiting."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit, self.stopped_by = True, sig

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the socket at once; after a while ask running requests to come to an end."""
        asyncio.get_running_loop().call_later(FINISH_SECONDS, self._finish)
        await super().shutdown(sockets)
