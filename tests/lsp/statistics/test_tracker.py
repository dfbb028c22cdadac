"""What became of suggestions, from the editor's messages to the table that a person reads."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from lsprotocol import types
from support.editor import COMMAND, editor

from starling_lsp.statistics import followed, journal, tracker
from starling_lsp.statistics.followed import Followed
from starling_lsp.statistics.tracker import Statistics

LINES = "".join(f"item_{n} = make_item({n})\n" for n in range(12))
URI = "file:///work/pattern.py"
AT = (12, 14)
OPENED = LINES + "item_12 = make"


def suggestion(document: str, text: str = "foo(a)") -> Followed:
    return followed.follow("python", None, "tiny", document, len(document), text)


def test_a_suggestion_lives_while_it_is_typed() -> None:
    it = suggestion("x = ")
    assert it.agrees("x = ")
    assert it.agrees("x = fo")
    assert it.continues(6, "o(a)")
    assert not it.continues(6, "x")
    assert it.agrees("x = f"), "taken back"
    assert it.agrees("x = foo(a)")
    assert it.whole
    assert not it.agrees("y = fo"), "another line"
    assert not it.agrees("x = fa")
    assert not it.agrees("x =")
    assert not it.agrees("x = foo(a) + 1")


def test_what_is_kept_is_counted_by_lines() -> None:
    it = suggestion("", "first()\n    second()\n")
    assert it.kept("a\n  first()\n  second()\n") == 1
    assert it.kept("    second()") == pytest.approx(8 / 15)
    assert it.kept("") == 0


async def test_each_outcome_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHOWN_SECONDS", "GRACE_SECONDS"):
        monkeypatch.setattr(tracker, name, 0.01)
    monkeypatch.setattr(tracker, "LATER_SECONDS", (0.05, 0.1))
    documents: dict[str, str] = {}
    counts = Statistics(documents.get, journal.Journal(), "tests")

    async def offer(uri: str, wait: float = 0.05) -> str:
        documents[uri] = "x = "
        counts.answered(uri, uri, suggestion("x = "))
        counts.shown(uri)
        await asyncio.sleep(wait)
        return uri

    def now(uri: str, text: str) -> None:
        documents[uri] = text
        counts.changed(uri)

    now(await offer("accepted"), "x = foo(a)")
    counts.accepted("accepted")
    now(await offer("typed"), "x = foo(a)")
    now(await offer("dismissed"), "x = 1")
    uri = await offer("partly")
    counts.partly(uri, 3)
    now(uri, "x = foo")
    now(uri, "x = foo + 1")
    now(await offer("gone too soon", 0), "x = 1")
    await asyncio.sleep(0.3)
    await counts.close()
    [row] = journal.rows()
    assert (row.shown, row.accepted, row.partly, row.typed, row.dismissed) == (4, 1, 1, 1, 1)
    assert (row.kept_30, row.kept_300) == (1, 1)


async def accept_one(options: object) -> None:
    """Have a suggestion shown and accepted, as editors do it."""
    async with editor(COMMAND, options) as talking:
        await talking.status("ready")
        talking.open(URI, OPENED)
        [item] = await talking.ask(URI, AT)
        shown = {"item": {"insertText": item.insert_text, "command": {"arguments": [{"id": id_of(item)}]}}}
        talking.client.protocol.notify("textDocument/didShowCompletion", shown)
        talking.edit(URI, AT, AT, str(item.insert_text))
        assert item.command is not None
        run = types.ExecuteCommandParams(item.command.command, item.command.arguments)
        await talking.client.workspace_execute_command_async(run)


@pytest.mark.parametrize("on", [True, False])
def test_an_editor_leaves_counts_and_no_code(on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARLING_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    asyncio.run(accept_one({"statistics": on}))
    command = [sys.executable, "-m", "starling_lsp", "stats"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ("1 (100%)" in table) == on
    assert ("No suggestions were shown yet" in table) != on
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"item" not in files
    assert bool(files) == on


def id_of(item: types.InlineCompletionItem) -> str:
    assert item.command is not None
    assert item.command.arguments is not None
    argument = item.command.arguments[0]
    return str(argument["id"])  # pyright: ignore[reportArgumentType, reportCallIssue, reportIndexIssue, reportOptionalSubscript]
