"""Stops while text is generated; what is left of it in the end is in `golden/`."""

import pytest

from starling_server.config import RULES, Mode, Rule
from starling_server.postprocess import stops
from starling_server.postprocess.completion_scope import Extent, decide
from starling_server.postprocess.stops import BlockStop, IndentStop, LineStop
from starling_server.prompt.cursor import Cursor

STOPS = [
    # prefix, suffix, generated text, where it is cut
    ("x = f(", ")\n", "a, b)\nmore", "a, b"),
    ("x = f(", "]\n", "a, b)\nmore", "a, b)"),
    ("x = ", "\n", " 1\ny = 2", " 1"),
    ("x = ", "\n", "\n", ""),
    ("x = 1", "\n", "\ny = 2\nz", "\ny = 2"),
    ("def f():", "\n", "\n    return 1\n\ndef g", "\n    return 1\n"),
    ("def f():\n    ", "\n", "    a = 1\n    b = 2\nc = 3", "    a = 1\n    b = 2"),
    ("function f() {", "\n", "\n  return 1;\n}\nf();", "\n  return 1;\n}"),
    ("    if x:", "\n", "\n        y()\n    else:\n", "\n        y()"),
    ("", "", "import a\n\n\n\nimport b", "import a"),
    ("", "\nresult = compute(all_values)\n", "a = 1\nresult = compute(all_values)\nb", "a = 1"),
    ("", "", "next()\nnext()\nnext()\nnext()", "next()\nnext()\nnext()"),
    ("def f():\n    ", "\n", "  return 1", ""),
    ("def f():\n    ", "\n", "\n  r", ""),
]


def extent(prefix: str, suffix: str) -> Extent:
    return decide(Cursor.at(prefix, suffix), None)


@pytest.mark.parametrize(("prefix", "suffix", "text", "expected"), STOPS)
def test_stops_while_generating(prefix: str, suffix: str, text: str, expected: str) -> None:
    rules = stops.rules(extent(prefix, suffix), Cursor.at(prefix, suffix), RULES)
    fired = next((fired for size in range(len(text) + 1) if (fired := stops.first(rules, text[:size]))), None)
    assert fired is not None
    assert text[: fired[0]] == expected


@pytest.mark.parametrize(
    ("rule", "prefix", "suffix", "text"),
    [
        ("suffix", "", "\nresult = compute(all_values)\n", "a = 1\nresult = compute(all_values)\nb"),
        ("bracket", "x = f(", ")\n", "a)"),
        ("repeat", "", "", "next()\nnext()\nnext()\nnext()"),
    ],
)
def test_a_rule_can_be_switched_off(rule: Rule, prefix: str, suffix: str, text: str) -> None:
    fired = stops.first(stops.rules(extent(prefix, suffix), Cursor.at(prefix, suffix), RULES), text)
    assert fired is not None
    assert fired[1] == rule
    others: list[Rule] = [other for other in RULES if other != rule]
    assert stops.first(stops.rules(extent(prefix, suffix), Cursor.at(prefix, suffix), others), text) is None


def test_indentation_that_may_yet_be_the_cursors_goes_on() -> None:
    for text in ("", "\n", "  ", "    ", "    x", "\n      x"):
        assert IndentStop(Cursor.at("    "))(text) is None


def test_modes() -> None:
    def stop(mode: Mode, prefix: str, suffix: str) -> type:
        extent = decide(Cursor.at(prefix, suffix), None, mode)
        assert extent != "nothing"
        return type(stops.rules(extent, Cursor.at(prefix, suffix), ())[0])

    assert stop("line", "def f():", "\n") is LineStop
    assert stop("block", "x = ", "\n") is BlockStop
    assert stop("auto", "def f():", " # rest\n") is LineStop
    assert stop("auto", "if (x) {", "\n") is BlockStop
