"""Our programs start as forks of a process that has the imports behind it (`fork_server`), and seconds sooner.

They are real processes still, children of the tests' own: pipes, signals, exit statuses, environment and folder are
theirs. What differs is that libraries of others were imported before. Whatever else is asked of a start (`preexec_fn`,
another variable that is read at import, another program) goes the ordinary way, as all does with STARLING_FORKS=0 and
where a GPU is, whose driver does not survive a fork.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("fork_server.py")
REPOSITORY = Path(__file__).parents[2]
MODULES = ("starling_server", "starling_training", "starling_training.base", "starling_training.evaluation",
           "starling_lsp")  # fmt: skip
SCRIPTS = (REPOSITORY / "benchmarks", REPOSITORY / "tests" / "support")
FREE = (
    "STARLING_",
    "PYTEST_",
    "XDG_CONFIG_",
    "XDG_STATE_",
    "XDG_DATA_",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "TERM",
    "GIT_",
)
"""How variables begin that no library reads when it is imported."""
POSSIBLE = sys.platform == "linux" and not Path("/dev/nvidiactl").exists()
PLAIN = (None, None, True, (), False, None, None, None, -1, -1)
"""What `subprocess` passes for a start without further wishes."""
SUBREAPER = 36
"""`PR_SET_CHILD_SUBREAPER`: processes below that lose their parent become this one's children."""


def bound(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that must be the fork server's own."""
    return {name: value for name, value in environment.items() if not name.startswith(FREE)}


def ours(command: Sequence[str]) -> bool:
    """Whether this starts a program of ours that loads what the fork server has loaded."""
    if command[0] != sys.executable or len(command) < 2:
        return False
    return (command[1] == "-m" and command[2] in MODULES) or Path(command[1]).parent in SCRIPTS


@contextmanager
def subreaper() -> Generator[None]:
    """For as short as it can be: orphans of other programs are for init to reap."""
    prctl = ctypes.CDLL(None).prctl
    prctl(SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(SUBREAPER, 0, 0, 0, 0)


class Forks:
    """The way to one fork server, which is started by its first program and ends with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._bound = bound(os.environ)

    def take(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether a fork is the same as a start of its own."""
        wished = POSSIBLE and environment.get("STARLING_FORKS") != "0"
        return wished and ours(command) and bound(environment) == self._bound

    def start(self, order: dict[str, Any], streams: Sequence[int]) -> int:
        """The id of a child that runs the order's program."""
        with self._lock, subreaper():
            self._control = self._control or self._started()
            socket.send_fds(self._control, [json.dumps(order).encode()], streams)
            return int(self._control.recv(64))

    def close(self) -> None:
        """End the server; programs that it started go on."""
        if self._control:
            self._control.close()
            self._process.wait()

    def _started(self) -> socket.socket:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, str(SERVER), str(there.fileno())]
        with there:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[there.fileno()])
        return here


@contextmanager
def forks() -> Generator[None]:
    """While this holds, `subprocess` and `asyncio` start our programs as forks."""
    server = Forks()
    real = subprocess.Popen._execute_child  # pyright: ignore - what every way to start a process goes through

    def execute_child(process: Any, args: Any, *given: Any) -> None:
        (executable, preexec, close_fds, kept, folder, environment, _, _, shell, stdin, stdin_here, stdout_here, stdout,
         stderr_here, stderr, _, gid, gids, uid, umask, session, group) = given  # fmt: skip
        plain = (executable, preexec, close_fds, tuple(kept), shell, gid, gids, uid, umask, group)
        command = [os.fsdecode(part) for part in args] if isinstance(args, list | tuple) else [""]
        surroundings = dict(os.environ if environment is None else environment)
        if plain != PLAIN or not server.take(command, surroundings):
            return real(process, args, *given)
        order = {"command": command, "environment": surroundings, "folder": str(Path(folder or ".").absolute())}
        streams = [given if given != -1 else number for number, given in enumerate((stdin, stdout, stderr))]
        process.pid = server.start({**order, "session": session}, streams)
        process._child_created = True
        process._close_pipe_fds(stdin, stdin_here, stdout_here, stdout, stderr_here, stderr)

    subprocess.Popen._execute_child = execute_child  # pyright: ignore - restored below
    try:
        yield
    finally:
        subprocess.Popen._execute_child = real  # pyright: ignore
        server.close()
