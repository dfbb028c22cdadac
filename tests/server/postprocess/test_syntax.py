"""Syntax trees in characters, for every language that has a grammar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starling_server.postprocess.completion_scope import decide, may_be_followed_deeper
from starling_server.postprocess.syntax import GRAMMARS, parse
from starling_server.prompt.cursor import Cursor

SNIPPETS = {
    "C": ("int add(int a) { return twice(a); }", "twice(a)"),
    "C#": ("class A { int F(int a) { return Twice(a); } }", "Twice(a)"),
    "C++": ("int add(int a) { return std::abs(a); }", "std::abs(a)"),
    "Go": ("package a\nfunc f(a int) int { return twice(a) }", "twice(a)"),
    "Java": ("class A { int f(int a) { return twice(a); } }", "twice(a)"),
    "JavaScript": ("const f = (a) => { return twice(a); };", "twice(a)"),
    "PHP": ("<?php function f($a) { return twice($a); }", "twice($a)"),
    "Python": ("def f(a):\n    return twice(a)\n", "twice(a)"),
    "Ruby": ("def f(a)\n  twice(a)\nend\n", "twice(a)"),
    "Rust": ("fn f(a: i32) -> i32 { twice(a) }", "twice(a)"),
    "TypeScript": ("const f = (a: number): number => { return twice(a); };", "twice(a)"),
}


@pytest.mark.parametrize("language", GRAMMARS)
@pytest.mark.parametrize("before", ["", "// é漢😀\n"])
def test_every_grammar_finds_the_call(language: str, before: str) -> None:
    code, call = SNIPPETS[language]
    text = before.replace("//", "#") + code if language in ("Python", "Ruby") else before + code
    if language == "PHP" and before:
        text = code.replace("<?php", "<?php /* é漢😀 */")
    syntax = parse(text, language)
    assert syntax is not None
    at = text.index(call) + 1
    assert call in {text[start:end] for start, end in syntax.around(at)}


def test_other_languages_have_no_tree() -> None:
    assert parse("x", "COBOL") is None
    assert parse("x", None) is None


@given(text=st.text(alphabet="def f(x):\n \t'\"é😀\ud800", max_size=60), at=st.integers(0, 80))
def test_any_text_and_place(text: str, at: int) -> None:
    syntax = parse(text, "Python")
    assert syntax is not None
    for start, end in syntax.around(min(at, len(text))):
        assert 0 <= start <= end <= len(text)


@pytest.mark.parametrize("tail", ["x = 1" + " " * 2_000_000, ")" * 2_000_000, "function(" * 200_000, "do |" * 500_000])
@pytest.mark.parametrize("language", ["python", "ruby", "lua", None])
def test_a_line_as_long_as_a_request_may_be(tail: str, language: str | None) -> None:
    """Patterns that take the square of its length would be at it for days."""
    assert decide(Cursor.at("def f(a):\n    return a\n" + tail), language) in ("line", "block")
    assert not may_be_followed_deeper(" " * 2_000_000 + "x")


@pytest.mark.parametrize(("line", "extent"), [("while x:" + " " * 900, "block"), ("x" * 900, "line")])
def test_what_a_long_line_says_counts(line: str, extent: str) -> None:
    assert decide(Cursor.at(line), "python") == extent
