"""Golden cases of what is suggested where: `golden/README.md` says how to read and write them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from starling_server.config import RULES
from starling_server.postprocess import stops
from starling_server.postprocess.completion_scope import decide
from starling_server.postprocess.filters import trim
from starling_server.prompt.cursor import Cursor

FOLDER = Path(__file__).with_name("golden")
MARKS = str.maketrans({"·": " ", "→": "\t", "␍": "\r"})


@dataclass(frozen=True, slots=True)
class Case:
    """One of a file."""

    language: str
    name: str
    prefix: str
    suffix: str
    written: str | None
    """What the model writes; None where only the extent is asked for."""
    expected: str

    @property
    def id(self) -> str:
        return f"{self.language}: {self.name}"


def read(path: Path) -> Iterator[Case]:
    for block in ("\n" + path.read_text(encoding="utf-8")).split("\n== ")[1:]:
        name, _, body = block.removesuffix("\n").partition("\n")
        mark = "!!" if "\n!! " in body else "--"
        document, _, rest = body.partition(f"\n{mark}")
        prefix, _, suffix = document.translate(MARKS).partition("▮")
        written, _, expected = rest.translate(MARKS).partition("\n++")
        if mark == "!!":
            yield Case(path.stem, name, prefix, suffix, None, written.removeprefix(" "))
        else:
            yield Case(path.stem, name, prefix, suffix, written.removeprefix(" "), expected.removeprefix(" "))


CASES = [case for path in sorted(FOLDER.glob("*.txt")) for case in read(path)]


@pytest.mark.parametrize("case", [case for case in CASES if case.written is not None], ids=lambda case: case.id)
def test_what_is_inserted(case: Case) -> None:
    assert case.written is not None
    cursor = Cursor.at(case.prefix, case.suffix)
    extent = decide(cursor, case.language)
    rules = stops.rules("line" if extent == "line" else "block", cursor, RULES)
    written = case.written if cursor.head[-1:] in ("", "\n") else cursor.held + case.written
    steps = (stops.first(rules, written[:size]) for size in range(len(written) + 1))
    fired = next((each for each in steps if each), None)  # as it is written, character by character
    assert trim(written[: fired[0]] if fired else written, cursor) == case.expected


@pytest.mark.parametrize("case", [case for case in CASES if case.written is None], ids=lambda case: case.id)
def test_what_a_place_calls_for(case: Case) -> None:
    extent, _, without = case.expected.partition(" without ")
    assert decide(Cursor.at(case.prefix, case.suffix), case.language, comments=without != "comments") == extent


def test_there_are_enough() -> None:
    assert len(CASES) >= 120
    assert len({case.language for case in CASES}) >= 8
    assert len({case.id for case in CASES}) == len(CASES)
