"""A real git history as places where its author wrote, and typing with suggestions that are known."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from starling_server.errors import SourceError
from starling_training.evaluation import history
from starling_training.evaluation.history import Change, added
from starling_training.evaluation.typing import type_one
from starling_training.examples.spans import Hole
from starling_training.scoring.engines import PLAIN, Manner
from starling_training.scoring.trials import Answer

FIRST = "import os\n\n\ndef size(path):\n    return os.stat(path).st_size\n\n\ndef here():\n    return '.'\n"
SECOND = FIRST.replace("os.stat(path)", "os.stat(path, follow_symlinks=False)") + "\n\ndef age(path):\n    return 0\n"


def git(folder: Path, *arguments: str) -> None:
    own = ("-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", folder, *own, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    for text in (FIRST, SECOND):
        (tmp_path / "files.py").write_text(text)
        (tmp_path / "notes.bin").write_bytes(b"\0" + text.encode())
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-qm", "more")
    return tmp_path


def test_hunks_stand_where_the_author_s_cursor_stood(repository: Path) -> None:
    changed, new = history.changes(repository, 10)
    assert changed.prefix.endswith("os.stat(path")
    assert changed.text == ", follow_symlinks=False"
    assert changed.suffix.startswith(").st_size\n\n\ndef here()")
    assert new.prefix == FIRST, "a hunk does not know the commit's other hunks"
    assert new.text == "\n\ndef age(path):\n    return 0"
    assert new.suffix == "\n"
    assert history.fitting([new], 20)[0][1].middle == "\n\ndef age(path):"
    with pytest.raises(SourceError, match="has no history"):
        history.changes(repository / "..", 1)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("a = 1\n", "a = 1\nif a:\n    b = call(a)\n", [("a = 1\n", "if a:\n    b = call(a)", "\n")]),
        (
            "def f():\n    pass\n",
            "def f():\n    value = 1\n    pass\n",
            [("def f():\n    ", "value = 1", "\n    pass\n")],
        ),
        ("x = one()\n", "x = other()\n", [("x = o", "ther", "()\n")]),
        ("a\nb\n", "a\n", []),
        ("a = 1\n", "a = 2\n", []),
    ],
)
def test_places_of_changes(before: str, after: str, expected: list[tuple[str, str, str]]) -> None:
    found = list(added("c", "a.py", before, after))
    assert [(change.prefix, change.text, change.suffix) for change in found] == expected
    for change in found:
        if len(found) == 1 and before != "x = one()\n":
            assert change.prefix + change.text + change.suffix == after


@dataclass(frozen=True, slots=True)
class Speaks:
    """An engine that suggests `text` once so much is typed."""

    text: str
    after: str

    async def ask(self, hole: Hole, manner: Manner = PLAIN) -> Answer:
        return Answer(self.text if hole.prefix.endswith(self.after) else "", True, ms=1.0)


CHANGE = Change("c", "a.py", "x = ", "call(value)\n    more", "\n")


async def test_a_right_suggestion_is_taken_and_saves_its_characters() -> None:
    keys = await type_one(Speaks("(value)", "call"), CHANGE, "s")
    assert (keys.accepted, keys.characters, keys.shown, keys.wrong) == (1, 7, 1, 0)
    assert keys.pressed == len("call") + 1 + len("\n") + len("more"), "Enter brings the indentation"


async def test_a_wrong_suggestion_is_counted_once_while_it_stays() -> None:
    keys = await type_one(Speaks("(other)", "call"), CHANGE, "s")
    assert (keys.accepted, keys.characters, keys.shown, keys.wrong) == (0, 0, 1, 1)
    assert keys.pressed == len("call(value)") + 1 + len("more")
    assert keys.asked == keys.pressed
