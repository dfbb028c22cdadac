"""Which pieces of other files are chosen for a place, and that the choice holds still while a person types."""

from collections.abc import Generator

import pytest

from starling_server.context.choice import CHARS_PER_TOKEN, Chooser, Piece, Place, choose, resolve
from starling_server.context.imports import imports
from starling_server.context.index import Index
from starling_server.context.leaks import leaks, without
from starling_server.context.outline import outline
from starling_server.context.scope import enclosing
from starling_server.postprocess.parser_client import client

FILES = {
    "shop/money.py": 'class Money:\n    """An amount in one currency."""\n\n'
    '    def rounded(self, digits: int = 2) -> "Money":\n        return self\n',
    "shop/__init__.py": "from .money import Money\n",
    "other/money.py": "class Money:\n    wrong = 1\n",
    "shop/stock.py": "def reserve_items(order, warehouse):\n    # Marks what an order needs.\n    return order\n",
    "shop/report.py": "def write_report(sums):\n" + "    total_by_country = sums.grouped('country_code')\n" * 3,
    "shop/order.py": "from shop import Money\n\n\nclass Order:\n    def total(self):\n        pass\n",
}
HEAD = "from shop import Money\n\n\nclass Order:\n    def place(self, warehouse):\n"
PLACE = Place("shop/order.py", HEAD + "        reserve_items(", "\n\n    def total(self):\n        pass\n")


@pytest.fixture(scope="module")
def index() -> Generator[Index]:
    made = Index()
    for path, text in FILES.items():
        made.put(path, text.encode())
    yield made
    client("index").rest()


def test_what_is_imported_is_found_through_the_package_and_by_its_path(index: Index) -> None:
    found = choose(index, PLACE)
    money = [piece for piece in found if "class Money" in piece.text]
    assert [(piece.path, piece.why) for piece in money] == [("shop/money.py", "import")]
    assert "An amount in one currency." in money[0].text
    assert 'def rounded(self, digits: int = 2) -> "Money":' in money[0].text


def test_a_name_near_the_cursor_brings_its_definition(index: Index) -> None:
    reserve = next(piece for piece in choose(index, PLACE) if piece.why == "name")
    assert (reserve.path, reserve.text.split("\n")[0]) == ("shop/stock.py", "def reserve_items(order, warehouse):")


def test_similar_chunks_fill_what_is_left(index: Index) -> None:
    place = Place("shop/order.py", "def show(sums):\n    grouped = sums.grouped('country_code')\n    write = ", "\n")
    assert next(piece.path for piece in choose(index, place) if piece.why == "similar") == "shop/report.py"


def test_the_most_important_comes_first_within_the_budget(index: Index) -> None:
    for tokens in (0, 20, 60, 512):
        found = choose(index, PLACE, tokens)
        scores = [piece.score for piece in found]
        assert scores == sorted(scores, reverse=True)
        assert sum(len(piece.text) for piece in found[:-1]) <= tokens * CHARS_PER_TOKEN
        assert found == choose(index, PLACE, tokens)


def test_nothing_comes_from_the_file_itself_or_is_in_its_window(index: Index) -> None:
    shown = FILES["shop/stock.py"]
    place = Place("shop/order.py", shown + PLACE.prefix, PLACE.suffix)
    found = choose(index, place)
    assert found
    assert not {"shop/order.py", "shop/stock.py"} & {piece.path for piece in found}


def test_the_choice_changes_at_a_jump_or_at_rest_only(index: Index) -> None:
    chooser, first = Chooser(index), Place("shop/new.py", HEAD + "        ")
    kept = chooser.pieces(first)
    for typed in ("reserve", "reserve_items(", "reserve_items(\n        total = sums.grouped('country_code')\n"):
        assert chooser.pieces(Place("shop/new.py", first.prefix + typed)) is kept
    ended = Place("shop/new.py", first.prefix + "reserve_items(")
    assert chooser.pieces(ended, renew="changed") is kept, "the index is the same"
    assert chooser.pieces(ended, renew="always") == choose(index, ended) != kept
    jumped = Place("shop/new.py", HEAD + "        pass\n\n    def other(self):\n        reserve_items(")
    assert chooser.pieces(jumped) == choose(index, jumped)
    assert chooser.pieces(first) is not kept
    assert chooser.pieces(first, 60) == choose(index, first, 60)


def test_a_changed_index_counts_at_rest_or_from_another_file_and_a_deleted_file_at_once() -> None:
    index = Index()
    for path, text in FILES.items():
        index.put_text(path, text)
    chooser = Chooser(index)
    kept = chooser.pieces(PLACE)
    index.put_text("shop/money.py", FILES["shop/money.py"].replace("An amount", "A sum"))
    assert chooser.pieces(PLACE) is kept
    assert "A sum" in str(chooser.pieces(PLACE, renew="changed"))
    index.put_text("shop/money.py", FILES["shop/money.py"])
    assert "A sum" in str(chooser.pieces(PLACE))
    chooser.pieces(Place("shop/stock.py", "x = "))
    assert "An amount" in str(chooser.pieces(PLACE))
    index.remove("shop/money.py")
    assert "shop/money.py" not in {piece.path for piece in chooser.pieces(PLACE)}
    client("index").rest()


@pytest.mark.parametrize(
    ("statement", "importer", "expected"),
    [
        ("from a.b import c", "tests/t.py", ["pkg/a/b.py"]),
        ("from a.b.c import d", "tests/t.py", ["pkg/a/b/c.py"]),
        ("import typing", "pkg/a/b.py", []),
        ("from .typing import x", "pkg/deep/inside/m.py", ["pkg/deep/inside/typing.py"]),
        ("from typing import x", "pkg/deep/inside/m.py", ["pkg/deep/inside/typing.py"]),
        ("import tool", "tests/t.py", ["src/tool.py"]),
        ("import a.b", "pkg/a/b.py", []),
    ],
)
def test_a_module_is_resolved_by_its_path(statement: str, importer: str, expected: list[str]) -> None:
    index = Index()
    for path in ("pkg/a/b.py", "pkg/a/b/c.py", "pkg/deep/inside/typing.py", "src/tool.py"):
        index.put(path, f"def made_in_{len(path)}():\n    pass\n".encode())
    (wanted,) = imports(statement)
    assert resolve(index, wanted, importer) == expected


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("import os\n", ""),
        ("class A:\n    def f(\n        self,\n    ) -> int:\n        if x:\n            ", "A/f"),
        ("class A:\n    def f(self):\n        pass\n\n    def g(self):\n        x = 1\n        ", "A/g"),
        ("func (s *S) Run(a int) {\n\tfor {\n\t\tx", "Run"),
        ("public class A {\n    int f(int a) {\n        if (a) {\n            b();\n        }\n        c", "A/f"),
        ("impl S {\n    pub fn run(&self) {\n        le", "S/run"),
        ("def f():\n    pass\n\n", "f"),
        ("def f():\n    pass\n\nx", ""),
    ],
)
def test_the_enclosing_definition(prefix: str, expected: str) -> None:
    assert enclosing(prefix) == expected


def test_a_piece_that_holds_the_hole_or_a_near_copy_leaks() -> None:
    hole = "    total = sum(item.price * item.count for item in self.items)\n    return total"
    same = Piece("a.py", "x = 1\n  total = sum(item.price*item.count for item in self.items)\n", "similar", 0.5)
    near = Piece("a.py", "total = sum(it.price * it.count for it in self.items)\n", "similar", 0.5)
    other = Piece("a.py", "count = len(self.items)\nreturn count\nclass Item:\n", "similar", 0.5)
    assert leaks(same, hole)
    assert leaks(near, hole)
    assert not leaks(other, hole)
    assert without((same, other, near), hole) == (other,)
    assert not leaks(same, "pass")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "def f(a):\n" + "    " * 50_000,
        "import " + ", ".join(f"a{n}.b{n}" for n in range(20_000)),
        "from a import (\n" + "b, " * 50_000,
        "(" * 100_000,
        "".join(f"{' ' * (400 - n)}f{n}(a b c d e f g h\n" for n in range(400)) + " " * 500,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_costs_no_more_than_its_window(index: Index, text: str) -> None:
    """Quadratic matching would take minutes, past this test's limit."""
    place = Place("shop/order.py", text, text)
    assert "shop/order.py" not in {piece.path for piece in choose(index, place)}
    assert len(enclosing(text).split("/")) <= 400


@pytest.mark.timeout(60)
def test_a_comment_of_blanks_costs_little() -> None:
    source = ("// " + " " * 3_000 + "x\n") * 200 + "int add(int a) { return a; }\n"
    (added,) = outline(source, "C").definitions
    assert (added.name, added.doc) == ("add", "")
