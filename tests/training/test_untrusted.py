"""A checkout of unknown origin is read: no program that its configuration names runs, and no file outside is read."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import hostile

from starling_server.errors import SourceError
from starling_training import corpus
from starling_training.evaluation import history

SECRET = "what_only_the_owner_may_read"


def text(number: int) -> str:
    """A file unlike the others."""
    return "".join(f"def word_{number}_{n}(value):\n    return value + {number * 31 + n}\n" for n in range(20))


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "-qm", message)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with six files and three commits, the last of which is signed."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitattributes").write_text("*.py diff=evil filter=evil merge=evil\n")
    for number in range(6):
        (folder / f"file_{number}.py").write_text(text(number))
    commit(folder, "first")
    for number in range(2):
        (folder / f"file_{number}.py").write_text(text(number) + f"\n\ndef more_{number}(value):\n    return value\n")
        commit(folder, f"more {number}")
    hostile.sign(folder)
    return folder


@pytest.fixture
def witnesses(tmp_path: Path) -> Path:
    return tmp_path / "witnesses"


def seen(witnesses: Path) -> list[str]:
    return sorted(path.name for path in witnesses.iterdir())


def call(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )


def test_no_program_of_the_repository_s_configuration_runs(checkout: Path, witnesses: Path) -> None:
    hostile.plant(checkout, witnesses)
    assert len(corpus.read([checkout]).documents) == 6
    assert {change.path for change in history.changes(checkout, 5)} == {"file_0.py", "file_1.py"}
    assert seen(witnesses) == []


@pytest.mark.parametrize("remote", hostile.REMOTES)
def test_nothing_is_fetched_for_a_partial_clone(checkout: Path, witnesses: Path, remote: str) -> None:
    hostile.forget(checkout, "HEAD~1:file_1.py", "HEAD~1^{tree}", "HEAD:file_0.py")
    hostile.plant(checkout, witnesses, remote)
    assert len(corpus.read([checkout]).documents) == 6, "the work tree has them all"
    with pytest.raises(SourceError, match="partial"):
        history.changes(checkout, 5)
    assert seen(witnesses) == []
