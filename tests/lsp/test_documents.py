"""The server's copy of a document equals the editor's, whatever the characters and the client's units."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec

from starling_lsp import reply_items
from starling_lsp.asking import Debounce
from starling_lsp.documents import MAX_CHARS, Cursor, Document

PIECES = st.sampled_from(["a", "b ", "\n", "\r\n", "\r", "\f", "\u2028", "\x85", "é", "中", "😀", "\t"])
TEXT = st.lists(PIECES, max_size=40).map("".join)
ENCODINGS = st.sampled_from(list(types.PositionEncodingKind))


def document(text: str, encoding: types.PositionEncodingKind) -> Document:
    return Document("file:///a.py", text, 1, "python", position_codec=PositionCodec(encoding))


def between_cr_and_lf(text: str, at: int) -> bool:
    return text[at - 1 : at + 1] == "\r\n"


@settings(max_examples=400)
@given(TEXT, st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), TEXT), max_size=5), ENCODINGS)
def test_incremental_edits(
    text: str, edits: list[tuple[float, float, str]], encoding: types.PositionEncodingKind
) -> None:
    copy = document(text, encoding)
    for a, b, new in edits:
        start, end = sorted((round(a * len(text)), round(b * len(text))))
        if between_cr_and_lf(text, start) or between_cr_and_lf(text, end):
            continue
        span = types.Range(copy.position(start), copy.position(end))
        copy.apply_change(types.TextDocumentContentChangePartial(span, new))
        text = text[:start] + new + text[end:]
        assert copy.text == text
        assert copy.is_code


def test_what_is_too_large_or_binary_is_no_code() -> None:
    copy = document("", types.PositionEncodingKind.Utf16)
    copy.apply_change(types.TextDocumentContentChangeWholeDocument("x" * MAX_CHARS))
    start = types.Range(types.Position(0, 0), types.Position(0, 0))
    assert copy.is_code
    copy.apply_change(types.TextDocumentContentChangePartial(start, "y"))
    assert not copy.is_code
    copy.apply_change(types.TextDocumentContentChangeWholeDocument("x"))
    assert copy.is_code
    copy.apply_change(types.TextDocumentContentChangePartial(start, "\0"))
    assert not copy.is_code


@given(TEXT, st.floats(0, 1), ENCODINGS)
def test_positions_round_trip(text: str, share: float, encoding: types.PositionEncodingKind) -> None:
    at = round(share * len(text))
    if not between_cr_and_lf(text, at):
        copy = document(text, encoding)
        assert copy.offset(copy.position(at)) == at


@given(TEXT, st.integers(0, 60), st.integers(0, 60), ENCODINGS)
def test_any_position_is_somewhere(text: str, line: int, column: int, encoding: types.PositionEncodingKind) -> None:
    copy = document(text, encoding)
    cursor = copy.cursor(types.Position(line, column))
    assert cursor.prefix + cursor.suffix == text
    assert copy.text.startswith(cursor.prefix)


def test_lines_end_where_editors_end_them() -> None:
    copy = document("a\fb\u2028c\r\nd\re\n", types.PositionEncodingKind.Utf16)
    assert copy.lines == ("a\fb\u2028c\r\n", "d\r", "e\n", "")


@pytest.mark.parametrize(
    ("text", "rest", "new", "replaced"),
    [
        ("foo", "", "foo", 0),
        ("foo", ")", "foo)", 1),
        ("foo", "); // a", "foo", 0),
        ("foo", ") 😀", "foo) 😀", 4),
        ("foo", "  ", "foo  ", 2),
        ("foo", " + b", "foo", 0),
        ("a,\n  b", " + b", "a,\n  b + b", 4),
        ("a\r\nb", "", "a\nb", 0),
    ],
)
def test_what_a_suggestion_replaces(text: str, rest: str, new: str, replaced: int) -> None:
    copy = document("x " + rest, types.PositionEncodingKind.Utf16)
    item = reply_items.item(
        copy, types.Range(types.Position(0, 2), types.Position(0, 2)), Cursor("x ", rest), text, "id"
    )
    assert item.insert_text == new
    assert item.range == types.Range(types.Position(0, 2), types.Position(0, 2 + replaced))


def test_debounce_adapts() -> None:
    now = [0.0]
    assert Debounce("Neovim").seconds == 0
    assert Debounce("Visual Studio Code", 30).seconds == 0.03
    adapting = Debounce("Visual Studio Code", clock=lambda: now[0])
    for _ in range(30):
        adapting.key()
        now[0] += 0.13
    assert 0.125 < adapting.seconds < 0.135
    for _ in range(30):
        adapting.answered(30)
    assert 0.095 < adapting.seconds < 0.105
    for _ in range(30):
        adapting.answered(500)
    assert adapting.seconds == 0.075


def test_importing_the_language_server_leaves_torch_out() -> None:
    code = "import starling_lsp.server, starling_lsp.cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
