"""Servers that editors started for all of a user's windows: found by where they were told to leave their record."""

import contextlib
from pathlib import Path

import psutil


def servers(state: Path) -> list[psutil.Process]:
    """Those whose record is below the state folder `state`."""
    found = list[psutil.Process]()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(part.startswith(str(state)) for part in process.cmdline()):
                found.append(process)
    return found


def end_servers(state: Path) -> None:
    """End them."""
    for process in servers(state):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
