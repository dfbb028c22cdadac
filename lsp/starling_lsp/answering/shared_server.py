"""Finds the server that all of a user's editors share, and starts it where there is none.

There is one for each set of flags and each version of Starling. Its record (`starling_server.server_record`) says
where it answers; whoever starts one holds a lock until the record is there,
so that windows that open at once start one together.
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
"""After which a server that nobody asks ends."""
ANSWER_SECONDS, START_SECONDS, DEATH_SECONDS = 3.0, 60.0, 5.0
"""How long a server may take to say that it is alive, to be there, and to be gone once it was killed."""
POLL_SECONDS = 0.05
COMMAND = "serve-copilot: "
"""What a command's last line begins with, where it ended for a reason that it knows."""
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has only the latter, and it ends a process at once


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server with these flags of serve-copilot leaves its record and its log.

    Each machine has its own: a home folder may be on several, where neither address nor process number means anything.
    """

    flags: tuple[str, ...]

    @property
    def record(self) -> Path:
        """In the user's state folder."""
        return state.folder() / "servers" / f"{self._key}.json"

    @property
    def log(self) -> Path:
        """What the server wrote since it was started."""
        return self.record.with_suffix(".log")

    @property
    def _key(self) -> str:
        return sha256("\0".join((__version__, platform.node(), *self.flags)).encode()).hexdigest()[:12]

    def failure(self) -> UsageError | ServerUnreachable:
        """Why the server ended: by the last line it wrote, where that is how a command gives its reason."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            lines = []
        said = next((line for line in reversed(lines) if line.strip()), "")
        if said.startswith(COMMAND):
            return UsageError(said.removeprefix(COMMAND))
        return ServerUnreachable(f"The shared server ended: see {self.log}.")


def find_or_start(place: Place, lost: Running | None = None) -> Running:
    """The server of `place`; it may be loading still. `lost` is one that gave no answer: it is ended without asking it.

    Blocks for up to a minute. Raises UsageError where it cannot start for a reason that its user can mend,
    ServerUnreachable for any other.
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
        raise ServerUnreachable("Another window has been starting the shared server for a minute.") from error
    except OSError as error:
        folder = place.record.parent
        raise UsageError(f"Cannot write to {folder} ({error.strerror}): mend it, or set STARLING_STATE_DIR.") from error


def answers(server: Running) -> bool:
    """Whether it says that it is alive."""
    try:
        return httpx2.get(server.url + "/health", timeout=ANSWER_SECONDS, trust_env=False).is_success
    except httpx2.HTTPError:
        return False


def _start(place: Place) -> Running:
    """Start a server, and wait until it says where it answers."""
    process = _spawn(place)
    threading.Thread(target=process.wait, name="starling-reaper", daemon=True).start()  # else it stays as a zombie
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
    """A process that outlives this one; -P keeps modules of the folder that an editor was opened in out of it."""
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
    """End a server that does not answer; it holds its record's lock, so the number is still its own."""
    with suppress(ProcessLookupError):
        os.kill(server.pid, KILL)
    is_gone(place)


def is_gone(place: Place) -> bool:
    """Whether no server lives there any more; one that is ending has some seconds for it."""
    until = monotonic() + DEATH_SECONDS
    while server_record.alive(place.record):
        if monotonic() > until:
            return False
        sleep(POLL_SECONDS)
    return True
