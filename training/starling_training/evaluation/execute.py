"""Runs model-written code under limits to check an answer, as the benchmarks do.

Time, memory and files are limited, and the network is blocked where Linux allows it. The limits contain accidents; they
are not a security sandbox: the code can read every file that you can read.
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
"""Starts a process without network, and kills all its processes when it ends."""
GRACE = 10.0
"""Seconds for the supervisor to kill the processes that it started."""
SAME = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "SYSTEMROOT")
"""Environment variables passed on; the others may hold tokens."""
TAIL = 1 << 16
"""Max bytes of an output that are kept, from its end."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one run."""

    seconds: float
    memory_mb: int = 4_096
    """Address space of each process."""
    file_mb: int = 256
    processes: int = 1_024
    """Max at the same time; threads count too where the kernel enforces the limit (not for root)."""
    disk_mb: int = 2_048
    """Written in total."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Arguments for the supervisor: seconds, bytes, counts."""
        sizes = (self.memory_mb << 20, self.file_mb << 20, self.processes, self.disk_mb << 20)
        return tuple(map(str, (round(self.seconds) + 1, *sizes)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    status: int | None
    """Exit status; None after a timeout."""
    output: str
    errors: str
    """The end of standard output and standard error (`TAIL`)."""


def run(command: Sequence[str], folder: Path, limits: Limits, stdin: str = "") -> Outcome:
    """Run `command` in `folder`, which is also its home; raises UsageError if the system cannot set limits."""
    if os.name != "posix":
        raise UsageError("Running model-written code needs process limits: use Linux or macOS.")
    limited = [sys.executable, "-I", str(SUPERVISE), *limits.flags, *command]
    # Files, not pipes: an orphaned process would keep a pipe open and block the reader.
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
    """Exit status, None after a timeout; all processes it started are killed in every case."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)  # the supervisor ends its descendants in every session
                process.wait(GRACE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def environment(folder: Path) -> Mapping[str, str]:
    """Environment variables of the command."""
    own = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return {name: os.environ[name] for name in SAME if name in os.environ} | own


@cache
def apart() -> tuple[str, ...]:
    """Prefix that starts a process without network, if the system allows it for every user."""
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
        """Whether `text` is correct in the task's hole."""
        ...


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program followed by its assertions (HumanEval)."""

    before: str
    after: str

    def passes(self, text: str, limits: Limits) -> bool:
        """Whether the program runs to its end: one that exits earlier, with any status, fails."""
        reached = secrets.token_hex()
        found = _run(f"{self.before}{text}{self.after}\nprint({reached!r})\n", limits)
        return found.status == 0 and found.output.rstrip().endswith(reached)


@dataclass(frozen=True, slots=True)
class Inputs:
    """A Python program with standard input and output (SAFIM)."""

    before: str
    after: str
    tests: Sequence[tuple[str, Sequence[str]]]
    """Pairs of an input and its correct outputs."""

    def passes(self, text: str, limits: Limits) -> bool:
        """Whether the output is correct for every input, apart from whitespace and line ends."""
        for given, right in self.tests:
            found = _run(f"{self.before}{text}{self.after}", limits, given)
            if found.status != 0 or found.output.split() not in [output.split() for output in right]:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Calls:
    """A call to match without running it: SAFIM's API tasks (its `syntax_match`)."""

    truth: str
    language: str

    def passes(self, text: str, limits: Limits) -> bool:
        """Whether the calls are equal apart from whitespace and, in Python, the order of named arguments."""
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
    """A call's positional and named arguments, and the function name, which the published code leaves out."""
    try:
        node = ast.parse(code, mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(node, ast.Call):
        return None
    placed = [ast.dump(argument) for argument in (node.func, *node.args)]
    return placed, {argument.arg: ast.dump(argument.value) for argument in node.keywords}
