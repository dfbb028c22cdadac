"""The editor's process: noticed when it ends, also if it leaves the language server's input open."""

import asyncio
import os
import sys
from collections.abc import Callable

POLL_SECONDS = 2.0
"""Interval of the check where the system cannot tell when a process ends."""


def watch(pid: int, gone: Callable[[], None]) -> None:
    """Call `gone` on the running loop, once, after the process has ended; at once if there is none.

    On Windows nothing is watched: the editor's end closes the input there.
    """
    if pid <= 0 or sys.platform == "win32":
        return
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        loop.call_soon(gone)
    except (AttributeError, OSError, OverflowError):  # not Linux, or a kernel or sandbox without it
        _poll(loop, pid, gone)
    else:

        def ended() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            gone()

        loop.add_reader(descriptor, ended)


def _poll(loop: asyncio.AbstractEventLoop, pid: int, gone: Callable[[], None]) -> None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        gone()
        return
    except PermissionError:  # another user's, and alive
        pass
    except OverflowError:  # no process's id
        return
    loop.call_later(POLL_SECONDS, _poll, loop, pid, gone)
