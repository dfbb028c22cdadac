"""Golden cases of trimming and stopping."""

import pytest

from starling_server import stops
from starling_server.config import RULES, Mode, Rule
from starling_server.stops import BlockStop, LineStop
from starling_server.trim import trim

CASES = [
    # text, indent, suffix, insertable text
    ("a + b", "", "\n", "a + b"),
    ("a, b)", "", ")\n", "a, b"),
    ("a, b)\nnext()", "", ")\n", "a, b"),
    ("foo(a)", "", ")", "foo(a)"),
    ("x[0]", "", "]\n", "x[0]"),
    ('hello"', "", '")\n', "hello"),
    ("value = 3", "", " = 3\n", "value"),
    ("    return x", "    ", "\n", "return x"),
    ("return x", "    ", "\n", ""),
    ("\n    return x", "    ", "\n", "return x"),
    ("    a = 1\n    b = 2", "    ", "", "a = 1\n    b = 2"),
    ("a = 1\nb = 2\n", "", "\nb = 2\n", "a = 1"),
    ("b = 2", "", "\nb = 2\n", ""),
    ("return 1;\n}", "", "\n}\n", "return 1;"),
    ("if (x) {\n  y();\n}", "", "\n}\n", "if (x) {\n  y();\n}"),
    ("x = 1\nx = 1\nx = 1\nx = 1", "", "", "x = 1"),
    ("x()\nx()\ny()", "", "", "x()\nx()\ny()"),
    ("}\n  }\n}", "", "", "}\n  }\n}"),
    ("self.sock.event.event.event.event.ev", "", "", "self.sock.event"),
    ("x, end, end, end, end, end", "", "", "x, end"),
    ("# " + "-" * 40, "", "", "# " + "-" * 40),
    ("0, 0, 0, 0, 0, 0", "", "", "0, 0, 0, 0, 0, 0"),
    ("a.b.b.b.b.b + c", "", "", "a.b.b.b.b.b + c"),
    ("   ", "", "", ""),
    (")", "", "", ""),
    ("ab  \n\n", "", "", "ab"),
    ("😀😀", "", "\n", "😀😀"),
]


@pytest.mark.parametrize(("text", "indent", "suffix", "expected"), CASES)
def test_trim(text: str, indent: str, suffix: str, expected: str) -> None:
    assert trim(text, indent, suffix) == expected


STOPS = [
    # prefix, suffix, generated text, where it is cut
    ("x = f(", ")\n", "a, b)\nmore", "a, b"),
    ("x = f(", "]\n", "a, b)\nmore", "a, b)"),
    ("x = ", "\n", "1\ny = 2", "1"),
    ("x = 1", "\n", "\ny = 2\nz", "\ny = 2"),
    ("def f():", "\n", "\n    return 1\n\ndef g", "\n    return 1\n"),
    ("def f():\n    ", "\n", "    a = 1\n    b = 2\nc = 3", "    a = 1\n    b = 2"),
    ("function f() {", "\n", "\n  return 1;\n}\nf();", "\n  return 1;\n}"),
    ("    if x:", "\n", "\n        y()\n    else:\n", "\n        y()"),
    ("", "", "import a\n\n\n\nimport b", "import a"),
    ("", "\nresult = compute(all_values)\n", "a = 1\nresult = compute(all_values)\nb", "a = 1"),
    ("", "", "next()\nnext()\nnext()\nnext()", "next()\nnext()\nnext()"),
]


@pytest.mark.parametrize(("prefix", "suffix", "text", "expected"), STOPS)
def test_stops_while_generating(prefix: str, suffix: str, text: str, expected: str) -> None:
    rules = stops.rules("auto", prefix, suffix, RULES)
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
    fired = stops.first(stops.rules("auto", prefix, suffix, RULES), text)
    assert fired is not None
    assert fired[1] == rule
    others: list[Rule] = [other for other in RULES if other != rule]
    assert stops.first(stops.rules("auto", prefix, suffix, others), text) is None


def test_modes() -> None:
    def extent(mode: Mode, prefix: str, suffix: str) -> type:
        return type(stops.rules(mode, prefix, suffix, ())[0])

    assert extent("line", "def f():", "\n") is LineStop
    assert extent("block", "x = ", "\n") is BlockStop
    assert extent("auto", "def f():", " # rest\n") is LineStop
    assert extent("auto", "if (x) {", "\n") is BlockStop
