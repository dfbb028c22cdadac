"""Windows: within the budget, next to the cursor, and with edges that hold still."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_server.backends.torch.loading import Loaded
from starling_server.prompt import window
from starling_server.prompt.cursor import Cursor, hold_blanks, normalize

TEXT = st.text(st.sampled_from("ab (\n\r\t):é😀"), max_size=400)


def characters(text: str) -> list[int]:
    """One id per character."""
    return [ord(char) for char in text]


def text_of(ids: list[int]) -> str:
    return "".join(map(chr, ids))


@given(TEXT, TEXT, st.integers(8, 300))
def test_a_window_is_the_text_around_the_cursor_within_the_budget(prefix: str, suffix: str, tokens: int) -> None:
    cut = window.fit(Cursor.at(prefix, suffix), tokens, characters)
    assert len(cut.prefix) + len(cut.suffix) <= tokens
    assert normalize(prefix).endswith(text_of(cut.prefix) + cut.held)
    assert normalize(suffix).startswith(text_of(cut.suffix))


@given(TEXT, TEXT)
def test_short_text_is_there_whole(prefix: str, suffix: str) -> None:
    cut = window.fit(Cursor.at(prefix, suffix), 4000, characters)
    assert text_of(cut.prefix) + cut.held == normalize(prefix)
    assert text_of(cut.suffix) == normalize(suffix)


def test_blanks_that_a_tokenizer_joins_with_what_follows_are_held_back() -> None:
    assert hold_blanks("if a:\n    ") == ("if a:\n", "    ")
    assert hold_blanks("if a:\n\t") == ("if a:\n", "\t")
    assert hold_blanks("if a:\n    b") == ("if a:\n    b", "")
    assert hold_blanks("  ") == ("", "  ")
    assert hold_blanks("a\n") == ("a\n", "")
    assert hold_blanks("x = ") == ("x =", " ")
    assert hold_blanks("x =  ") == ("x = ", " ")
    assert hold_blanks("x =\t") == ("x =\t", "")


@pytest.mark.parametrize(
    ("prefix", "text", "shown"),
    [
        ("x = ", " 1", "1"),
        ("x = ", "", ""),
        ("x = ", "1", None),
        ("x = ", "\n 1", None),
        ("if a:\n    ", "\n    b", "b"),
        ("if a:\n    ", "  ", ""),
        ("if a:\n    ", "  b", None),
        ("\n ", "\n b", "b"),
        ("x", "\n y", "\n y"),
        ("if a:\n\t", "    b", "b"),
        ("if a:\n\t", "  ", ""),
        ("if a:\n\t\t", "    b", None),
        ("if a:\n    ", "\n\tb", "b"),
        ("x =\t ", "\t b", None),
    ],
)
def test_text_goes_behind_what_was_held_back(prefix: str, text: str, shown: str | None) -> None:
    assert Cursor.at(prefix).after_held(text) == shown


def test_edges_lie_at_line_starts() -> None:
    text = "".join(f"line {n}\n" for n in range(400))
    cut = window.fit(Cursor.at(text, text), 300, characters)
    assert text[-len(cut.prefix) - 1] == "\n"
    assert cut.suffix[-1] == ord("\n")


@settings(max_examples=25)
@given(st.text(st.sampled_from("ab (=:)\n"), min_size=1, max_size=120))
def test_typing_moves_the_left_edge_at_most_once_in_a_quarter_of_the_budget(typed: str) -> None:
    document = "".join(f"line {n} of a file\n" for n in range(200))
    starts = set[int]()
    for size in range(len(typed)):
        prefix = document + typed[:size]
        cut = window.fit(Cursor.at(prefix, document), 1000, characters)
        starts.add(len(prefix) - len(cut.prefix) - len(cut.held))
    assert len(starts) <= 2


def test_a_line_without_end_is_cut_hard() -> None:
    cut = window.fit(Cursor.at("x" * 10_000, "y" * 10_000), 100, characters)
    assert 75 < len(cut.prefix) + len(cut.suffix) <= 100


@pytest.mark.parametrize("text", ["漢字を書く" * 900, "😀" * 900, "# 漢字\n" * 900])
def test_no_character_is_cut(tiny: Loaded, text: str) -> None:
    cut = window.fit(Cursor.at(text, text), 200, tiny.tokenizer.encode)
    assert 100 < len(cut.prefix) + len(cut.suffix) <= 200
    assert text.endswith(tiny.tokenizer.decode(cut.prefix))
    assert text.startswith(tiny.tokenizer.decode(cut.suffix))


def test_the_budget_leaves_room_for_prompt_and_middle(tiny: Loaded, source: str) -> None:
    cut = window.fit(Cursor.at(source, source), window.budget(1024, 64, tiny.fim.sentinels), tiny.tokenizer.encode)
    assert len(tiny.fim.prompt(cut.prefix, cut.suffix)) + 64 <= 1024


def test_a_large_document_is_clipped_at_coarse_steps() -> None:
    prefix, suffix = "p" * 500_000, "s" * 500_000
    clipped = window.clip(prefix, suffix)
    assert all(2 * window.CLIP <= len(part) <= 3 * window.CLIP for part in clipped)
    assert len(window.clip(prefix + "more", suffix)[0]) == len(clipped[0]) + 4
    assert window.clip("a", "b") == ("a", "b")
