"""git as a subprocess: reads only the given repository and runs no program named in its configuration.

A checkout's own configuration can name programs that git runs even for reading (`core.fsmonitor`, `gpg.program`, fetch
commands for the missing objects of a partial clone). Command-line configuration overrides the checkout's.
"""

import os
import re
import subprocess
from pathlib import Path

_LOCAL = frozenset({
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS",
    "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
})  # fmt: skip
"""Output of `git rev-parse --local-env-vars`: set inside git hooks, where they refer to the hook's repository."""
_ALWAYS = (
    "core.fsmonitor=false", "core.hooksPath=/dev/null", "log.showSignature=false", "core.pager=cat",
    "submodule.recurse=false", "fetch.recurseSubmodules=false", "maintenance.auto=false", "gc.auto=0",
    "protocol.ext.allow=never", "safe.bareRepository=explicit",
)  # fmt: skip
_READING = ("core.sshCommand=false", "core.gitProxy=false", "core.askPass=false", "credential.helper=")
"""Configuration for reading, which must not fetch; a clone uses the user's own configuration."""
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",  # never prompt for a password
    "GIT_OPTIONAL_LOCKS": "0",  # do not write a refreshed index when reading
    "GIT_NO_LAZY_FETCH": "1",  # since git 2.44, backported to 2.39.4
    "GIT_LFS_SKIP_SMUDGE": "1",  # do not download large files, which are not trained on
    "LC_ALL": "C",  # `complaint` parses messages
}
_NO_PROTOCOL = {"GIT_ALLOW_PROTOCOL": ":"}
"""Empty list of protocols: blocks every remote, also in versions of git without GIT_NO_LAZY_FETCH."""
_GENERIC = "fatal: Could not read from remote repository"


def run(
    folder: Path, *arguments: str, stdin: bytes = b"", seconds: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git on the checkout at `folder`, offline. No program named in its configuration is run, nothing is fetched.

    Raises FileNotFoundError if git is missing, and subprocess.TimeoutExpired after `seconds`, because git's pattern
    matching never ends for some patterns.
    """
    return _run(folder, (*_ALWAYS, *_READING), arguments, _NO_PROTOCOL, stdin, seconds)


def run_online(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `clone` or `fetch` on the address that the user named, with the user's own configuration.

    Not for a checkout made by others.
    """
    return _run(folder, _ALWAYS, arguments, {}, b"", None)


def complaint(stderr: bytes) -> str:
    """The line of git's output with the cause; for a refused login, the line from ssh before `fatal`."""
    lines = [line.strip() for line in os.fsdecode(stderr).splitlines() if line.strip()]
    said = [line for line in lines if not re.match(r"(?i)warning:|cloning into|hint:", line)]
    fatal = next((n for n, line in enumerate(said) if re.match("fatal:|error:", line)), 0)
    if fatal and said[fatal].startswith(_GENERIC):
        fatal -= 1
    return said[fatal].rstrip(".") if said else "no reason given"


def refused_owner(stderr: bytes) -> str | None:
    """The command that makes git trust another user's checkout, if git refused because of the owner."""
    lines = (line.strip() for line in os.fsdecode(stderr).splitlines())
    return next((line for line in lines if line.startswith("git config") and "safe.directory" in line), None)


def _run(
    folder: Path,
    settings: tuple[str, ...],
    arguments: tuple[str, ...],
    more: dict[str, str],
    stdin: bytes,
    seconds: float | None,
) -> subprocess.CompletedProcess[bytes]:
    own = {key: value for key, value in os.environ.items() if key not in _LOCAL} | _ENVIRONMENT | more
    given = [part for setting in settings for part in ("-c", setting)]
    command = ["git", "-C", str(folder), "--no-pager", *given, *arguments]
    return subprocess.run(command, capture_output=True, env=own, input=stdin, check=False, timeout=seconds)
