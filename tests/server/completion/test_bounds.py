"""Memory that grows with what clients send has a bound in bytes, whatever they send."""

import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from starling_lsp.answering.adapter_choice import MOST_FOLDERS, Choice
from starling_server.completion.suggestion_cache import Recall, Remembered
from starling_server.models import bases
from starling_server.models.tokenizer import MOST_BYTES, Lines, load_tokenizer

SLACK = 1.2
"""Of the bound: a dictionary that grows is there twice for a moment."""


def spelt(text: str) -> list[int]:
    """One id for each byte, none of them a number that Python has ready."""
    return [1000 + byte for byte in text.encode()]


def wide(number: int) -> str:
    """400 characters of four bytes each, no two lines alike."""
    return chr(0x1F300 + number % 700) * 390 + f"{number:010}"


def held(work: Callable[[], object]) -> int:
    """Bytes that Python holds at most while `work` runs."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HOSTILE: dict[str, Callable[[], Iterable[tuple[str, str]]]] = {
    "long lines": lambda: ((wide(n), "") for n in range(400)),
    "short lines": lambda: (("\n".join(f"{n}.{m}" for m in range(1000)), "") for n in range(20)),
    "one document": lambda: [("\n".join(map(wide, range(400))), "")],
    "many clients": lambda: ((f"{n}", f"127.0.{n // 256}.{n % 256}") for n in range(3000)),
    "long names": lambda: (("x", f"{n}" * 5000) for n in range(300)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_remembered_lines(kind: str) -> None:
    bound = 1 << 20
    assert bound < MOST_BYTES <= 10 << 20
    lines = Lines(spelt, bound)

    def ask() -> None:
        for text, client in HOSTILE[kind]():
            assert len(lines.encode(text, client)) == len(text.encode())
            assert lines.nbytes <= bound

    largest = max(len(text.encode()) for text, _ in HOSTILE[kind]())
    assert held(ask) < SLACK * bound + 60 * largest


def test_a_document_that_is_typed_in_is_not_encoded_again() -> None:
    asked = list[str]()

    def encode(text: str) -> list[int]:
        asked.append(text)
        return spelt(text)

    lines = Lines(encode, 4 << 20)
    document = "\n".join(f"line {n}" for n in range(2000))
    for typed in range(20):
        lines.encode(f"{document}\n{'x' * typed}", "alice")
        lines.encode("\n".join(f"{typed} {n}" for n in range(1000)), "bob")
    assert sum(text.startswith("\nline") for text in asked) < 2000
    asked.clear()
    lines.encode(document, "carol")
    assert len(asked) == 2000, "nobody profits by another's"


def test_words_are_not_remembered_for_ever() -> None:
    """Whether a word is known cannot be asked, so its memory is measured: 12,000 long words took 81 MB."""
    psutil = pytest.importorskip("psutil")
    tokenizer, process = load_tokenizer(bases.find("tiny")), psutil.Process()
    words = ["".join("qzxjkvwQ"[int(digit)] for digit in f"{n:08o}" * 31) for n in range(0, 6_000_000, 500)]
    tokenizer.encode_marked(words[0])
    before = process.memory_info().rss
    for word in words:
        tokenizer.encode_marked(word)
    assert process.memory_info().rss - before < 30e6


def test_remembered_answers() -> None:
    recall, bound = Recall(), 16 << 20

    def ask() -> None:
        for number in range(100):
            text = chr(0x1F300 + number) * 250_000
            recall.add(Remembered(("session",), text, "", "x"))
            recall.add(Remembered(("session", text), "x = ", "", "x"))
            assert recall.nbytes <= bound

    assert held(ask) < SLACK * bound + 4e6


def test_folders_of_an_editor(tmp_path: Path) -> None:
    choice = Choice()
    for number in range(2 * MOST_FOLDERS):
        assert choice.of([tmp_path / str(number)]) is None
    assert len(vars(choice)["_known"]) <= MOST_FOLDERS
