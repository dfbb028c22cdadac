"""git as a subprocess, never on another repository than the one that is named."""

import os
import subprocess
from pathlib import Path

_LOCAL = frozenset({
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS",
    "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
})  # fmt: skip
"""What `git rev-parse --local-env-vars` lists: set inside git's own hooks, where it names the hook's repository."""


def run(folder: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """What git answers in `folder`; it never asks for a password. Raises FileNotFoundError where git is missing."""
    own = {key: value for key, value in os.environ.items() if key not in _LOCAL} | {"GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, env=own, input=stdin, check=False
    )
