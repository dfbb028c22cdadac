"""git as a subprocess: only on the named repository, and without running a program that its configuration names.

A checkout's own configuration can name programs that git runs while it only reads (`core.fsmonitor`, `gpg.program`,
what fetches a partial clone's missing objects). Configuration on the command line goes before the checkout's.
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
"""What `git rev-parse --local-env-vars` lists: set inside git's own hooks, where it names the hook's repository."""
_ALWAYS = (
    "core.fsmonitor=false", "core.hooksPath=/dev/null", "log.showSignature=false", "core.pager=cat",
    "submodule.recurse=false", "fetch.recurseSubmodules=false", "maintenance.auto=false", "gc.auto=0",
    "protocol.ext.allow=never", "safe.bareRepository=explicit",
)  # fmt: skip
_READING = ("core.sshCommand=false", "core.gitProxy=false", "core.askPass=false", "credential.helper=")
"""Where nothing may be fetched; a clone goes by the user's own."""
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",  # never ask for a password
    "GIT_OPTIONAL_LOCKS": "0",  # reading writes no refreshed index
    "GIT_NO_LAZY_FETCH": "1",  # since git 2.44, and 2.39.4 of the older ones
    "GIT_LFS_SKIP_SMUDGE": "1",  # nothing is learnt from the large files, so nothing is downloaded for them
    "LC_ALL": "C",  # `complaint` reads messages
}
_NO_PROTOCOL = {"GIT_ALLOW_PROTOCOL": ":"}
"""A list of no protocol: refuses every way to a remote, also in a git that does not know GIT_NO_LAZY_FETCH."""
_GENERIC = "fatal: Could not read from remote repository"


def run(
    folder: Path, *arguments: str, stdin: bytes = b"", seconds: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """What git answers about the checkout at `folder`, from its files alone: nothing that the checkout's configuration
    names is run, nothing is fetched. Raises FileNotFoundError where git is missing, and subprocess.TimeoutExpired after
    `seconds`: git's pattern matching never ends for some patterns."""
    return _run(folder, (*_ALWAYS, *_READING), arguments, _NO_PROTOCOL, stdin, seconds)


def run_online(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The same for `clone` and `fetch`, which go to the address that the user named, by the user's own configuration:
    not for a checkout that others made."""
    return _run(folder, _ALWAYS, arguments, {}, b"", None)


def complaint(stderr: bytes) -> str:
    """The line of git's that says what is wrong: for a refused login the one before `fatal`, which is ssh's."""
    lines = [line.strip() for line in os.fsdecode(stderr).splitlines() if line.strip()]
    said = [line for line in lines if not re.match(r"(?i)warning:|cloning into|hint:", line)]
    fatal = next((n for n, line in enumerate(said) if re.match("fatal:|error:", line)), 0)
    if fatal and said[fatal].startswith(_GENERIC):
        fatal -= 1
    return said[fatal].rstrip(".") if said else "no reason given"


def refused_owner(stderr: bytes) -> str | None:
    """The command that makes git trust another user's checkout, if that is why it refused."""
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
