"""Runs a command under limits and kills every process it started when it ends, in other sessions too.

    python -I supervise.py CPU_SECONDS MEMORY FILE PROCESSES WRITTEN COMMAND...

The supervisor is a separate process that imports nothing of the project, because a forked child of a process with
threads must not set limits. On Linux, orphaned processes become its children, so none escapes by a fork and a session
of its own. Sizes are bytes. `setrlimit` enforces the limits of one process (one file); the totals of processes and
bytes written are polled. WRITTEN limits the larger of two values: the kernel's count of bytes written to a disk by all
processes, and the growth of the current folder.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

TOO_MANY, TOO_MUCH = "started too many processes", "wrote too much"
STOPPED = 125
"""Exit status if a limit on all processes together ended the command."""
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of linux/prctl.h."""
_LOOK, _WALK = 0.05, 0.5
"""Seconds between two polls of the processes; min seconds between two scans of the folder, or ten times the last scan's
duration if that is longer.
"""
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of each process, and of all together."""

    cpu: int
    memory: int
    file: int
    processes: int
    written: int


def supervise(limits: Limits, command: list[str]) -> int:
    """The command's exit status; 128 plus the signal number if a signal ended it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _end_all)
    child = os.fork()
    if child == 0:
        _become(limits, command)
    try:
        return _watch(child, limits)
    finally:
        kill_all()


def _become(limits: Limits, command: list[str]) -> None:
    """Set this process's limits and execute the command in it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    running = _of_this_user()
    for what, most in (
        (resource.RLIMIT_CPU, limits.cpu),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_FSIZE, limits.file),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, running + limits.processes),  # not enforced by the kernel for root: see `_watch`
    ):
        _, hard = resource.getrlimit(what)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.stderr.flush()
    os._exit(127)


def _watch(child: int, limits: Limits) -> int:
    look, pause = _disk(limits.written), 0.002
    while True:
        ended, status = _reap(child)
        if ended:
            return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        found = descendants()
        fault = TOO_MANY if len(found) > limits.processes else TOO_MUCH if look(found) else ""
        if fault:
            kill_all()
            sys.stderr.write(f"\nThe command was stopped: it {fault}.\n")
            sys.stderr.flush()
            return STOPPED
        time.sleep(pause)
        pause = min(2 * pause, _LOOK)


def _reap(child: int) -> tuple[bool, int]:
    """Whether the command has ended, and its status; also reaps orphans that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True, 0
        if pid == child:
            return True, status
        if pid == 0:
            return False, 0


def descendants() -> list[int]:
    """Every process below this one, as numbered in /proc, which may belong to another process namespace."""
    children = dict[int, list[int]]()
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        with suppress(OSError, ValueError, IndexError):
            pid = int(entry.name)
            parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    found, waiting = list[int](), [_itself()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _itself() -> int:
    try:
        return int(os.readlink(_PROC / "self"))
    except (OSError, ValueError):
        return os.getpid()


def _number(pid: int) -> int:
    """The process id, in this namespace, of the process numbered `pid` in /proc; raises OSError if it has ended."""
    status = (_PROC / str(pid) / "status").read_bytes()
    return int(status.rpartition(b"\nNSpid:")[2].splitlines()[0].split()[-1]) if b"\nNSpid:" in status else pid


def kill_all() -> None:
    """Kill every process below this one; all are stopped first, so that none starts another meanwhile."""
    for _ in range(1000):
        found = descendants()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in found:
                with suppress(OSError, ValueError, IndexError):
                    os.kill(_number(pid), number)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not found:
            return
        time.sleep(0.002)


def _end_all(_number: int, _frame: FrameType | None) -> None:
    kill_all()
    os._exit(128 + signal.SIGTERM)


def _of_this_user() -> int:
    """Number of threads of this user that the kernel counts now."""
    count, user = 0, os.getuid()
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        with suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == user:
                count += len(os.listdir(entry / "task"))
    return count


def _disk(most: int) -> Callable[[list[int]], bool]:
    """A check whether more than `most` bytes have been written since this call."""
    before, due = _size(), time.monotonic() + _WALK

    def too_much(found: list[int]) -> bool:
        nonlocal due
        if sum(map(_written, [_itself(), *found])) > most:
            return True
        if time.monotonic() < due:
            return False
        began = time.monotonic()
        grown = _size() - before
        due = time.monotonic() + max(_WALK, 10 * (time.monotonic() - began))
        return grown > most

    return too_much


def _written(pid: int) -> int:
    """Bytes written to a disk by a process and its ended children."""
    with suppress(OSError, ValueError, IndexError):
        return int((_PROC / str(pid) / "io").read_bytes().split(b"\nwrite_bytes: ")[1].split()[0])
    return 0


def _size() -> int:
    """Disk usage of the current folder in bytes."""
    total = 0
    for folder, _, names in os.walk("."):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


if __name__ == "__main__":
    sys.exit(supervise(Limits(*map(int, sys.argv[1:6])), sys.argv[6:]))
