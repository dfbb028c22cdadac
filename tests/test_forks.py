"""Programs that start as forks are what they are when they start by themselves."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support import fork_server, forks

from starling_server.models.bases import TINY_DIR

pytestmark = pytest.mark.skipif(not forks.POSSIBLE, reason="programs start by themselves here")
ALONE = {"STARLING_FORKS": "0"}
SERVE = [sys.executable, "-m", "starling_server", "--base", "tiny", "--port", "0"]


def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def is_fork(pid: int) -> bool:
    """Whether it is this process's own child, and the fork server's fork."""
    process = psutil.Process(pid)
    return process.ppid() == os.getpid() and "fork_server.py" in " ".join(process.cmdline())


@pytest.mark.parametrize(
    "words",
    [
        ("starling_server", "--no-such-flag"),
        ("starling_training", "--version"),
        ("starling_training", "/nowhere", "--base", "tiny"),
        ("starling_training.evaluation", "--help"),
        ("starling_lsp", "--version"),
    ],
)
def test_a_fork_says_and_returns_what_a_start_does(words: tuple[str, ...]) -> None:
    forked, started = run(*words), run(*words, **ALONE)
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


def test_a_fork_is_a_child_with_a_folder_and_an_environment_of_its_own(tmp_path: Path) -> None:
    assert "context-tokens = 777" in run("starling_server", "--print-config", STARLING_CONTEXT_TOKENS="777").stdout
    with subprocess.Popen(SERVE, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Listening on ")
        assert is_fork(process.pid)
        assert psutil.Process(process.pid).cwd() == str(tmp_path)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


async def test_asyncio_has_them_too() -> None:
    process = await asyncio.create_subprocess_exec(*SERVE, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b"Listening on ")
    assert is_fork(process.pid)
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 60) == 130


def test_nothing_of_ours_is_imported_before_the_fork() -> None:
    assert [name for name in fork_server.IMPORTED if name.startswith("starling_")] == []


def test_a_start_of_its_own_finds_all_that_it_needs(tmp_path: Path) -> None:
    """Where a library's module is used that the program does not import itself, a fork would hide it."""
    for number in range(6):
        text = "".join(f"def word_{number}_{n}(value):\n    return value + {number * 31 + n}\n" for n in range(20))
        (tmp_path / f"file_{number}.py").write_text(text)
    done = run("starling_training.evaluation", str(tmp_path), "--base", str(TINY_DIR), "--holes", "1", **ALONE)
    assert done.returncode == 0, done.stderr
