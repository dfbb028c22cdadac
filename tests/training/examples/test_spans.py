"""Holes as editors ask for them."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from starling_training.examples.spans import SHARES, Lines, Span, cut, draw

SOURCE = """import os


class Walker:
    def __init__(self, root: str) -> None:
        self.root = root

    def walk(self) -> list[str]:
        found = []
        for name in os.listdir(self.root):
            if name.startswith("."):
                continue
            found.append(name)
        return found


def main() -> None:
    print(Walker(".").walk())
"""


def short(span: Span) -> bool:
    return span.length <= 200


@given(text=st.text(alphabet=" \t\nabc():é😀", max_size=400), seed=st.integers(0, 1000))
def test_any_text_makes_spans_that_round_trip(text: str, seed: int) -> None:
    for span in draw(text, 8, Random(seed), short):
        hole = cut(text, span)
        assert hole.prefix + hole.middle + hole.suffix == text
        assert short(span)
        assert (span.length == 0) == (span.kind == "empty")


def test_the_same_seed_draws_the_same() -> None:
    assert draw(SOURCE, 50, Random("a"), short) == draw(SOURCE, 50, Random("a"), short)
    assert draw(SOURCE, 50, Random("a"), short) != draw(SOURCE, 50, Random("b"), short)


def test_every_kind_comes_about_as_often_as_it_should() -> None:
    count = 4000
    kinds = Counter(span.kind for span in draw(SOURCE, count, Random(1), short))
    for kind, share in SHARES.items():
        assert abs(kinds[kind] / count - share) < 0.08


def test_a_line_ends_where_its_line_ends() -> None:
    for span in draw(SOURCE, 400, Random(2), short):
        if span.kind == "line":
            hole = cut(SOURCE, span)
            assert "\n" not in hole.middle
            assert hole.suffix.startswith("\n")


def test_a_block_ends_before_a_line_that_is_indented_less() -> None:
    for span in draw(SOURCE, 400, Random(3), short):
        if span.kind == "block":
            hole = cut(SOURCE, span)
            body = [line for line in hole.middle.split("\n")[1:] if line.strip()]
            after = next((line for line in hole.suffix.split("\n")[1:] if line.strip()), "")
            level = min(len(line) - len(line.lstrip()) for line in body)
            assert len(after) - len(after.lstrip()) < level or not after


def test_some_cursors_stand_in_mid_word() -> None:
    holes = [cut(SOURCE, span) for span in draw(SOURCE, 300, Random(4), short) if span.length]
    assert sum(hole.prefix[-1:].isalnum() and hole.middle[0].isalnum() for hole in holes) > 30


def test_a_block_is_never_cut_short() -> None:
    seen = {cut(SOURCE, span).middle for span in draw(SOURCE, 2000, Random(5), short) if span.kind == "block"}
    loop = '            if name.startswith("."):\n                continue\n            found.append(name)'
    assert any(middle.strip("\n").endswith(loop.strip()) for middle in seen)


def test_text_without_a_visible_line_has_no_spans() -> None:
    assert draw(" \n\t\n", 5, Random(0), short) == []
    assert draw("", 5, Random(0), short) == []


def test_nothing_that_fits_ends_the_search() -> None:
    assert draw(SOURCE, 5, Random(0), lambda _: False) == []


def test_lines_know_their_places() -> None:
    lines = Lines("a\n  b\n\nc")
    assert [lines.end(number) for number in range(4)] == [1, 5, 6, 8]
    assert lines.visible == [0, 1, 3]
    assert lines.block_end(1) == 1
    assert lines.block_end(0) == 3


def test_nodes_follow_the_syntax() -> None:
    nodes = {cut(SOURCE, span).middle for span in draw(SOURCE, 3000, Random(6), short, "Python") if span.kind == "node"}
    assert {"os.listdir(self.root)", "root: str", "self", "found.append(name)"} <= nodes
    assert not any(middle.endswith("\n") for middle in nodes)


def test_without_a_grammar_blocks_stand_in() -> None:
    drawn = [span for span in draw(SOURCE, 400, Random(7), short, "COBOL") if span.kind == "node"]
    assert drawn
    assert all(cut(SOURCE, span).suffix.startswith("\n") for span in drawn)
