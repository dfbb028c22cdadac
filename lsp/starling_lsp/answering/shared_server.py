"""Finds the server shared by all editors of a user, and starts one if there is none.

There is one server for each set of flags and each version of Starling. Its record (`starling_server.server_record`)
holds its address. The starting process holds a lock until the record exists, so that windows that open at the same time
start only one server.
"""

import os
import platform
import secrets
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep

import httpx2
from filelock import FileLock, Timeout

from starling_lsp import state
from starling_server import __version__, server_record
from starling_server.errors import ServerUnreachable, UsageError
from starling_server.server_record import Running

IDLE_MINUTES = 15
"""Idle time after which a server exits."""
ANSWER_SECONDS, START_SECONDS, DEATH_SECONDS = 3.0, 60.0, 5.0
"""Timeouts of a server's health check, of its start, and of its end after a kill."""
POLL_SECONDS = 0.05
COMMAND = "serve-copilot: "
"""Prefix of the last output line if the command ended with a known error."""
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has only SIGTERM, which kills there


@dataclass(frozen=True, slots=True)
class Place:
    """Paths of the record and the log of a server with these flags of serve-copilot.

    The paths differ per machine: several machines may share a home folder, and an address or process id is only valid
    on its own machine.
    """

    flags: tuple[str, ...]

    @property
    def record(self) -> Path:
        """The record's path, in the user's state folder."""
        return state.folder() / "servers" / f"{self._key}.json"

    @property
    def log(self) -> Path:
        """Path of the server's output since its start."""
        return self.record.with_suffix(".log")

    @property
    def _key(self) -> str:
        return sha256("\0".join((__version__, platform.node(), *self.flags)).encode()).hexdigest()[:12]

    def failure(self) -> UsageError | ServerUnreachable:
        """The error that ended the server, taken from its last output line if that line starts with `COMMAND`."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            lines = []
        said = next((line for line in reversed(lines) if line.strip()), "")
        if said.startswith(COMMAND):
            return UsageError(said.removeprefix(COMMAND))
        return ServerUnreachable(f"The shared server exited: see {self.log}.")


def find_or_start(place: Place, lost: Running | None = None) -> Running:
    """The server of `place`, which may still be loading. `lost` is an unresponsive one: it is killed without a probe.

    Blocks for up to a minute. Raises UsageError if the server cannot start for a reason that the user can fix,
    ServerUnreachable for any other reason.
    """
    try:
        place.record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(place.record.with_suffix(".starting"), timeout=START_SECONDS):
            found = server_record.read(place.record)
            if found is not None and found != lost and answers(found):
                return found
            if found is not None:
                _kill(found, place)
            return _start(place)
    except Timeout as error:
        raise ServerUnreachable(
            "The shared server is still being started by another window after a minute: close that window or wait."
        ) from error
    except OSError as error:
        folder = place.record.parent
        raise UsageError(
            f"Cannot write to {folder} ({error.strerror}): make it writable, or set STARLING_STATE_DIR."
        ) from error


def answers(server: Running) -> bool:
    """Whether the server's health check succeeds."""
    try:
        return httpx2.get(server.url + "/health", timeout=ANSWER_SECONDS, trust_env=False).is_success
    except httpx2.HTTPError:
        return False


def _start(place: Place) -> Running:
    """Start a server and wait until its record exists and its health check succeeds."""
    process = _spawn(place)
    threading.Thread(target=process.wait, name="starling-reaper", daemon=True).start()  # avoids a zombie
    until = monotonic() + START_SECONDS
    while monotonic() < until:
        ended = process.poll() is not None
        record = server_record.read(place.record)
        if record is not None and answers(record):
            return record
        if ended:
            raise place.failure()
        sleep(POLL_SECONDS)
    process.kill()
    raise ServerUnreachable(f"The shared server did not start within {START_SECONDS:g} seconds: see {place.log}.")


def _spawn(place: Place) -> "subprocess.Popen[bytes]":
    """Spawn a process that outlives this one; -P prevents imports from the editor's working folder."""
    own = ["--host", "127.0.0.1", "--port", "0", "--idle-minutes", str(IDLE_MINUTES), "--announce", str(place.record)]
    command = [sys.executable, "-P", "-m", "starling_server", *own, *place.flags]
    flags = getattr(subprocess, "DETACHED_PROCESS", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    with place.log.open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "STARLING_TOKEN": secrets.token_urlsafe(32)},
            start_new_session=True,
            creationflags=flags,
        )


def _kill(server: Running, place: Place) -> None:
    """Kill an unresponsive server; it still holds its record's lock, so its process id has not been reused."""
    with suppress(ProcessLookupError):
        os.kill(server.pid, KILL)
    is_gone(place)


def is_gone(place: Place) -> bool:
    """Whether no server of `place` is alive; waits up to `DEATH_SECONDS` for one that is exiting."""
    until = monotonic() + DEATH_SECONDS
    while server_record.alive(place.record):
        if monotonic() > until:
            return False
        sleep(POLL_SECONDS)
    return True
