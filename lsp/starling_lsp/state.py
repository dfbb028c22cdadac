"""Where the language server keeps what it must know later: statistics, and which servers run."""

import os
from pathlib import Path

from platformdirs import user_state_path

STATE_DIR = "STARLING_STATE_DIR"
"""Environment variable that moves the folder."""


def folder() -> Path:
    """The user's own; it may not be there yet."""
    moved = os.environ.get(STATE_DIR)
    return Path(moved) if moved else user_state_path("starling", appauthor=False)
