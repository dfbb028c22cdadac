"""Runs model-written code with limits to check an answer, as the benchmarks do.

Time, memory and files are limited, and there is no network where Linux allows that. It keeps accidents small. It is no
prison: what runs can read what you can read.
"""

import ast
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Protocol

from starling_server.errors import UsageError

SUPERVISE = Path(__file__).with_name("supervise.py")
APART = ("unshare", "--user", "--map-current-user", "--net", "--pid", "--fork", "--kill-child")
"""No network, and no process of it outlives it."""
GRACE = 10.0
"""Seconds that the supervisor has to kill what it started."""
SAME = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "SYSTEMROOT")
"""Of the environment; the rest may hold tokens."""
TAIL = 1 << 16
"""Bytes of an output that are kept, the last ones."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one run."""

    seconds: float
    memory_mb: int = 4_096
    """Address space of each process."""
    file_mb: int = 256
    processes: int = 1_024
    """At once; threads count too where the system holds the limit itself (not against root)."""
    disk_mb: int = 2_048
    """Written in all."""

    @property
    def flags(self) -> tuple[str, ...]:
        """What the supervisor takes: seconds, bytes, counts."""
        sizes = (self.memory_mb << 20, self.file_mb << 20, self.processes, self.disk_mb << 20)
        return tuple(map(str, (round(self.seconds) + 1, *sizes)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    status: int | None
    """None after a timeout."""
    output: str
    errors: str
    """The end of both (`TAIL`)."""


def run(command: Sequence[str], folder: Path, limits: Limits, stdin: str = "") -> Outcome:
    """Run `command` in `folder`, which is also its home; raises UsageError where there are no limits to set."""
    if os.name != "posix":
        raise UsageError("Running model-written code needs process limits: use Linux or macOS.")
    limited = [sys.executable, "-I", str(SUPERVISE), *limits.flags, *command]
    # Files, not pipes: a process that was left behind would keep a pipe open, and whoever reads it waiting.
    with TemporaryFile() as given, TemporaryFile() as output, TemporaryFile() as errors:
        given.write(stdin.encode())
        given.seek(0)
        process = subprocess.Popen(
            [*apart(), *limited], stdin=given, stdout=output, stderr=errors, cwd=folder, env=environment(folder),
            start_new_session=True,
        )  # fmt: skip
        status = _wait(process, limits.seconds)
        return Outcome(status, _tail(output), _tail(errors))


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    """Its status, None where it took longer; nothing that it started is left, however this ends."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)  # the supervisor ends the others, whatever their session
                process.wait(GRACE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def environment(folder: Path) -> Mapping[str, str]:
    """Variables that the command gets."""
    own = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return {name: os.environ[name] for name in SAME if name in os.environ} | own


@cache
def apart() -> tuple[str, ...]:
    """What starts a process without network, where the system lets everybody do so."""
    if not shutil.which(APART[0]):
        return ()
    tried = subprocess.run([*APART, "true"], capture_output=True, check=False)
    return APART if tried.returncode == 0 else ()


def _tail(output: IO[bytes]) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL))
    return output.read().decode("utf-8", "replace")


FILE = "program.py"


class Check(Protocol):
    """The check of a task."""

    def passes(self, text: str, limits: Limits) -> bool:
        """Whether `text` is right in the task's hole."""
        ...


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program with its assertions behind it: HumanEval's."""

    before: str
    after: str

    def passes(self, text: str, limits: Limits) -> bool:
        """Whether it comes to its end: one that ends itself earlier, whatever its status, has not shown anything."""
        reached = secrets.token_hex()
        found = _run(f"{self.before}{text}{self.after}\nprint({reached!r})\n", limits)
        return found.status == 0 and found.output.rstrip().endswith(reached)


@dataclass(frozen=True, slots=True)
class Inputs:
    """A Python program that reads and writes: SAFIM's."""

    before: str
    after: str
    tests: Sequence[tuple[str, Sequence[str]]]
    """Input, and outputs that are right for it."""

    def passes(self, text: str, limits: Limits) -> bool:
        """Whether it writes a right output for every input, blanks and line ends aside."""
        for given, right in self.tests:
            found = _run(f"{self.before}{text}{self.after}", limits, given)
            if found.status != 0 or found.output.split() not in [output.split() for output in right]:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Calls:
    """A call to be matched, nothing to be run: SAFIM's API tasks (its `syntax_match`)."""

    truth: str
    language: str

    def passes(self, text: str, limits: Limits) -> bool:
        """Whether both are the same but for blanks, and in Python for the order of named arguments."""
        mine, right = ("".join(code.split()) for code in (text, self.truth))
        if self.language == "python":
            pairs = _call(mine), _call(right)
            if all(pairs):
                return pairs[0] == pairs[1]
        return mine == right


def _run(program: str, limits: Limits, stdin: str = "") -> Outcome:
    with TemporaryDirectory(prefix="starling-run-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / FILE).write_text(program, encoding="utf-8")
        return run([sys.executable, "-I", FILE], Path(folder), limits, stdin)


def _call(code: str) -> tuple[list[str], dict[str | None, str]] | None:
    """A call's arguments, by place and by name; the function's own name too, which the published code leaves out."""
    try:
        node = ast.parse(code, mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(node, ast.Call):
        return None
    placed = [ast.dump(argument) for argument in (node.func, *node.args)]
    return placed, {argument.arg: ast.dump(argument.value) for argument in node.keywords}
