"""The reply contract, against a spawned server with the bundled base."""

import asyncio
import contextlib
import re
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient
from support.editor import COMMAND, Editor, editor
from support.relay import serve

LINES = "".join(f"item_{n} = make_item({n})\n" for n in range(12))
"""A pattern that the smallest model goes on with."""
URI = "file:///work/pattern.py"
AT = (12, 14)
OPENED = LINES + "item_12 = make"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ready() -> AsyncGenerator[Editor]:
    """One server for all, since each loads a model for seconds."""
    async with editor(COMMAND) as talking:
        await talking.status("ready")
        yield talking


def text_of(item: types.InlineCompletionItem) -> str:
    assert isinstance(item.insert_text, str), "plain strings: Neovim ignores the range of snippets"
    return item.insert_text


async def test_an_item_has_text_a_range_and_a_command(ready: Editor) -> None:
    ready.open(URI, OPENED)
    [item] = await ready.ask(URI, AT)
    assert text_of(item).strip()
    assert item.range == types.Range(types.Position(*AT), types.Position(*AT))
    assert item.command is not None
    assert item.command.command == "starling.accepted"
    assert item.command.arguments is not None
    argument = cast("dict[str, object]", item.command.arguments[0])
    assert argument["suffix"] == 0
    assert argument["id"]
    assert "<fim" not in text_of(item)


async def test_typing_through_and_backspace_agree_with_the_suggestion(ready: Editor) -> None:
    ready.open(URI, OPENED)
    [item] = await ready.ask(URI, AT)
    text = text_of(item)
    ready.edit(URI, AT, AT, text[0])
    [after] = await ready.ask(URI, (12, 15))
    assert text_of(after) == text[1:]
    ready.edit(URI, AT, (12, 15), "")
    [back] = await ready.ask(URI, AT)
    assert text_of(back) == text


async def test_the_rest_of_the_line_is_taken_along_where_it_only_closes(ready: Editor) -> None:
    ready.open(URI, OPENED + "()\nlast = 1\n")
    items = await ready.ask(URI, (12, 15))
    for item in items:
        assert item.range == types.Range(types.Position(12, 15), types.Position(12, 16))
        assert text_of(item).endswith(")")
    ready.edit(URI, (12, 15), (12, 16), " + other")
    for item in await ready.ask(URI, (12, 14)):
        assert item.range is not None
        assert item.range.end == types.Position(12, 14)


async def test_the_selected_popup_entry_comes_first(ready: Editor) -> None:
    ready.open(URI, LINES + "item_12 = ma")
    chosen = types.Range(types.Position(12, 10), types.Position(12, 12))
    [item] = await ready.ask(URI, (12, 12), types.SelectedCompletionInfo(chosen, "make"))
    assert text_of(item).startswith("make")
    assert len(text_of(item)) > 4
    assert item.range == chosen


@pytest.mark.parametrize(("encoding", "units"), [("utf-8", 4), ("utf-16", 2), ("utf-32", 1)])
async def test_columns_are_the_clients(encoding: str, units: int) -> None:
    async with editor(COMMAND, encoding=encoding) as talking:
        assert talking.encoding == encoding
        await talking.status("ready")
        talking.open(URI, LINES + "😀 = 1; item_12 = make")
        [plain] = await talking.ask(URI, (12, units + 20))
        assert plain.range is not None
        assert plain.range.start.character == units + 20
        [past] = await talking.ask(URI, (12, 999))
        assert past == plain or text_of(past) == text_of(plain)


async def test_nothing_to_suggest_is_an_empty_list(ready: Editor) -> None:
    assert await ready.ask("file:///never/opened.py", (0, 0)) == []
    ready.open(URI, OPENED)
    ready.close(URI)
    assert await ready.ask(URI, AT) == []


@pytest.mark.parametrize("text", ["a = 1\n" * 900_000, "GIF89a\0\1\2"], ids=["5 MB", "binary"])
async def test_what_is_not_code_is_inactive(ready: Editor, text: str) -> None:
    ready.open(URI, text)
    assert await ready.ask(URI, (0, 3)) == []
    assert (await ready.status("inactive"))["message"]
    ready.open("file:///work/other.py", OPENED)
    assert await ready.ask("file:///work/other.py", AT)
    await ready.status("ready")


@pytest.mark.parametrize("position", [(12, 99), (99, 0), (99, 99)])
async def test_positions_past_the_end_are_the_end(ready: Editor, position: tuple[int, int]) -> None:
    ready.open(URI, OPENED)
    [at_the_end] = await ready.ask(URI, AT)
    [past_it] = await ready.ask(URI, position)
    assert (past_it.insert_text, past_it.range) == (at_the_end.insert_text, at_the_end.range)


async def test_a_newer_request_wins(ready: Editor) -> None:
    ready.open(URI, "x = 1\n" * 900 + OPENED)
    older = asyncio.create_task(ready.ask(URI, (912, 14)))
    await asyncio.sleep(0)
    ready.edit(URI, (912, 14), (912, 14), "_")
    newer = asyncio.create_task(ready.ask(URI, (912, 15)))
    with pytest.raises(JsonRpcException) as error:
        await older
    assert error.value.code == -32800
    assert isinstance(await newer, list)


async def test_a_cancelled_request_is_answered_as_cancelled(ready: Editor) -> None:
    ready.open(URI, "x = 1\n" * 900 + OPENED)
    position = types.Position(912, 14)
    context = types.InlineCompletionContext(types.InlineCompletionTriggerKind.Invoked)
    params = types.InlineCompletionParams(context, types.TextDocumentIdentifier(URI), position)
    request = ready.client.protocol.send_request("textDocument/inlineCompletion", params, msg_id="one")
    ready.client.cancel_request(types.CancelParams("one"))
    with pytest.raises(JsonRpcException) as error:
        await asyncio.wrap_future(request)
    assert error.value.code == -32800
    assert isinstance(await ready.ask(URI, (912, 14)), list)


async def test_requests_while_loading_are_answered_with_nothing() -> None:
    async with editor(COMMAND) as talking:
        talking.open(URI, OPENED)
        assert await talking.ask(URI, AT) == []
        await talking.status("ready")
        assert await talking.ask(URI, AT)


async def test_trouble_is_a_status_never_an_error() -> None:
    async with editor([*COMMAND[:-1], "/nowhere"]) as talking:
        assert "There is no base '/nowhere'" in (await talking.status("error"))["message"]
        talking.open(URI, OPENED)
        assert await talking.ask(URI, AT) == []


async def test_wrong_options_fall_back() -> None:
    options = {"mode": "everything", "maxTokens": "many", "unknown": 1, "base": "tiny", "debounce": 0}
    async with editor(COMMAND[:-2], options) as talking:
        assert (await talking.status("ready", "error"))["base"] == "tiny"


async def test_what_is_remembered_is_not_debounced() -> None:
    async with editor([*COMMAND, "--debounce", "2000"], name="Visual Studio Code") as talking:
        await talking.status("ready")
        talking.open(URI, OPENED)
        clock = asyncio.get_running_loop().time
        times = [clock()]
        for _ in range(2):
            assert await talking.ask(URI, AT)
            times.append(clock())
        assert times[1] - times[0] >= 2 > times[2] - times[1], "the first waits for another key, the second need not"


async def test_over_tcp(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(*COMMAND, "--tcp", f"127.0.0.1:{port}")
    client = LanguageClient("tests", "1")
    async with asyncio.timeout(60):
        while True:
            try:
                await client.start_tcp("127.0.0.1", port)
                break
            except OSError:
                await asyncio.sleep(0.05)
    answer = await client.initialize_async(types.InitializeParams(types.ClientCapabilities()))
    assert answer.capabilities.inline_completion_provider is not None
    await client.shutdown_async(None)
    client.exit(None)
    assert await asyncio.wait_for(process.wait(), 30) == 0
    await client.stop()


WITNESS = """
import atexit, sys
from pathlib import Path
from starling_lsp.__main__ import main

report = Path(sys.argv.pop(1))
atexit.register(lambda: report.write_text(" ".join(sorted({"torch", "transformers", "pygls"} & set(sys.modules)))))
main()
"""


async def test_over_a_server_without_torch(tmp_path: Path) -> None:
    """The same suggestions from a running serve-copilot, in a process that never imports torch."""
    report = tmp_path / "modules"
    with contextlib.ExitStack() as ends:
        url = await asyncio.to_thread(ends.enter_context, serve())
        async with editor([sys.executable, "-c", WITNESS, str(report), "--server", url]) as remote:
            assert (await remote.status("ready"))["base"] == "tiny"
            remote.open(URI, OPENED)
            [over_http] = await remote.ask(URI, AT)
    assert report.read_text() == "pygls"
    async with editor(COMMAND) as local:
        await local.status("ready")
        local.open(URI, OPENED)
        [in_process] = await local.ask(URI, AT)
    assert text_of(over_http) == text_of(in_process)


async def test_a_place_is_read_ahead(tmp_path: Path) -> None:
    """The server's own log says how much of the prompt came from the cache."""
    log = tmp_path / "log"
    async with editor([*COMMAND, "--verbose", "--log-file", str(log), "--no-prefetch"]) as talking:
        await talking.status("ready")
        talking.open(URI, OPENED)
        where = {"textDocument": {"uri": URI}, "position": {"line": AT[0], "character": AT[1]}}
        talking.client.protocol.notify("starling/didMoveCursor", where)
        talking.client.protocol.notify("starling/didMoveCursor", {"position": 1})
        async with asyncio.timeout(60):
            while "generated 0" not in log.read_text():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.05)
        assert await talking.ask(URI, AT)
    counts = re.findall(r"prompt (\d+) of which cached (\d+), generated (\d+)", log.read_text())
    (prompt, none, nothing), (again, cached, _) = counts[:2]
    assert (none, nothing, again) == ("0", "0", prompt)
    assert int(cached) == int(prompt) - 1
    assert "refused starling/didMoveCursor: " in log.read_text()
