"""Folder of the language server's persistent state: statistics, and the list of running servers."""

import os
from pathlib import Path

from platformdirs import user_state_path

STATE_DIR = "STARLING_STATE_DIR"
"""Environment variable that overrides the folder."""


def folder() -> Path:
    """The user's state folder; it may not exist yet."""
    moved = os.environ.get(STATE_DIR)
    return Path(moved) if moved else user_state_path("starling", appauthor=False)
