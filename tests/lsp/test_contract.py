"""Options at run time, several suggestions, the popup, folders with an adapter each, and documents of every kind."""

import asyncio
import json
import socket
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL

import pytest
import pytest_asyncio
from lsprotocol import types
from support import adapter
from support.editor import COMMAND, Editor, editor

from starling_lsp.answering import link
from starling_lsp.asking import distinct
from starling_server.models import bases
from starling_server.schema import Choice

LINES = "".join(f"item_{n} = make_item({n})\n" for n in range(12))
URI = "file:///work/pattern.py"
AT = (12, 14)
OPENED = LINES + "item_12 = make"
INVOKED = types.InlineCompletionTriggerKind.Invoked


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one() -> AsyncGenerator[Editor]:
    async with editor(COMMAND, {"completionItems": True}) as talking:
        await talking.status("ready")
        yield talking


@pytest_asyncio.fixture(loop_scope="module")
async def ready(one: Editor) -> Editor:
    """One server for all, since each loads a model for seconds."""
    one.open(URI, OPENED)
    return one


async def test_a_person_who_asks_gets_up_to_three(ready: Editor) -> None:
    [automatic] = await ready.ask(URI, AT)
    items = await ready.ask(URI, AT, kind=INVOKED)
    assert 1 < len(items) <= 3
    assert items[0].insert_text == automatic.insert_text, "the best one first"
    assert len({str(item.insert_text) for item in items}) == len(items)
    assert len({json.dumps(item.command.arguments, default=str) for item in items if item.command}) == len(items)
    again = await ready.ask(URI, AT, kind=INVOKED)
    assert [item.insert_text for item in again] == [item.insert_text for item in items], "cycling holds still"


async def test_the_popup_has_the_same_as_one_item(ready: Editor) -> None:
    [ghost] = await ready.ask(URI, AT)
    params = types.CompletionParams(types.TextDocumentIdentifier(URI), types.Position(*AT))
    answer = await ready.client.text_document_completion_async(params)
    assert isinstance(answer, types.CompletionList)
    [item] = answer.items
    assert isinstance(item.text_edit, types.TextEdit)
    assert item.text_edit.new_text == "make" + str(ghost.insert_text)
    assert item.text_edit.range == types.Range(types.Position(12, 10), types.Position(*AT))
    assert item.filter_text == item.label == item.text_edit.new_text.split("\n")[0]


async def test_settings_count_from_when_they_come() -> None:
    async with editor(COMMAND, {"enable": {"markdown": False}}) as talking:
        await talking.status("ready")
        talking.open("file:///work/read.me", OPENED, "markdown")
        assert await talking.ask("file:///work/read.me", AT) == []
        assert (await talking.status("inactive"))["message"] == "Suggestions are off for markdown."
        talking.open(URI, OPENED)
        assert await talking.ask(URI, AT)
        talking.configure({"starling": {"triggerMode": "manual"}})
        assert await talking.ask(URI, AT) == []
        assert await talking.ask(URI, AT, kind=INVOKED)
        talking.configure({"starling": {"enable": {"*": False, "markdown": True}, "mode": 1, "serverPath": "x"}})
        assert await talking.ask(URI, AT) == []
        assert await talking.ask("file:///work/read.me", AT)


async def test_settings_are_asked_for_where_the_editor_wants_that() -> None:
    section: dict[str, object] = {"base": "/nowhere"}
    async with editor(COMMAND[:-2], {"base": "tiny"}, settings=lambda: section) as talking:
        await talking.status("ready")
        talking.configure(None)
        assert "/nowhere" in (await talking.status("error"))["message"], "another model is loaded at once"
        section["base"] = "tiny"
        talking.configure(None)
        assert (await talking.status("ready"))["base"] == "tiny"
        talking.open(URI, OPENED)
        assert await talking.ask(URI, AT)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two folders with an adapter each, and one without."""
    made = [tmp_path / name for name in ("one", "two", "bare")]
    for folder in made:
        folder.mkdir()
    for number, folder in enumerate(made[:2]):
        written = adapter.write(tmp_path / "data" / "adapters" / folder.name, bases.find("tiny"), number)
        manifest = json.loads((written / "manifest.json").read_text())
        (written / "manifest.json").write_text(json.dumps({**manifest, "workspace": str(folder)}))
    return made


async def test_each_folder_has_its_adapter(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARLING_DATA_DIR", str(tmp_path / "data"))
    async with editor(COMMAND, folders=folders) as talking:
        assert (await talking.status("ready", "error"))["adapter"] == "one"
        for folder, name in zip([*folders, tmp_path / "elsewhere"], ["one", "two", None, None], strict=True):
            uri = (folder / "work.py").as_uri()
            talking.open(uri, OPENED)
            await talking.ask(uri, AT)
            assert talking.statuses[-1]["adapter"] == name, folder
        talking.open("untitled:Untitled-1", OPENED)
        await talking.ask("untitled:Untitled-1", AT)
        assert talking.statuses[-1]["adapter"] == "one", "what has no path belongs to the first folder"
        opened = [types.WorkspaceFolder(folder.as_uri(), folder.name) for folder in (tmp_path, *folders)]
        event = types.WorkspaceFoldersChangeEvent(opened[:1], opened[1:])
        talking.client.workspace_did_change_workspace_folders(types.DidChangeWorkspaceFoldersParams(event))
        for folder, name in zip(folders, ["one", "two", None], strict=True):
            uri = (folder / "src" / "deep" / "work.py").as_uri()
            talking.open(uri, OPENED)
            await talking.ask(uri, AT)
            assert talking.statuses[-1]["adapter"] == name, f"{folder}, whose parent is open"


@pytest.mark.parametrize("uri", ["untitled:Untitled-1", "vscode-vfs://github/a/b.py", "file:///with%20blank/%C3%A9.py"])
async def test_documents_of_any_scheme(ready: Editor, uri: str) -> None:
    ready.open(uri, OPENED)
    assert await ready.ask(uri, AT)
    ready.close(uri)
    ready.edit(uri, (0, 0), (0, 0), "late")
    assert await ready.ask(uri, AT) == []
    assert await ready.ask(URI, AT)


async def test_a_line_without_an_end_is_no_code(ready: Editor) -> None:
    ready.open("file:///work/app.min.js", "a=1;" * 9_000, "javascript")
    assert await ready.ask("file:///work/app.min.js", (0, 400)) == []
    assert (await ready.status("inactive"))["message"] == "This line is too long."


async def test_cells_of_a_notebook_follow_each_other(ready: Editor) -> None:
    cells = [f"vscode-notebook-cell:/work/a.ipynb#{name}" for name in "abc"]
    kinds = [types.NotebookCellKind.Code, types.NotebookCellKind.Markup, types.NotebookCellKind.Code]
    notebook = types.NotebookDocument(
        "file:///work/a.ipynb",
        "jupyter-notebook",
        1,
        [types.NotebookCell(kind, uri) for kind, uri in zip(kinds, cells, strict=True)],
    )
    texts = [LINES, "# not code", "item_12 = make"]
    items = [
        types.TextDocumentItem(uri, types.LanguageKind.Python, 1, text) for uri, text in zip(cells, texts, strict=True)
    ]
    ready.client.notebook_document_did_open(types.DidOpenNotebookDocumentParams(notebook, items))
    [ghost] = await ready.ask(cells[2], (0, 14))
    assert "item" in str(ghost.insert_text), "the pattern is in the cell above"


@pytest.fixture
def mute() -> Generator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held = list[socket.socket]()

        def take() -> None:
            with suppress(OSError):
                while True:
                    held.append(listening.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        for taken in held:
            taken.close()


async def test_a_server_that_hangs_holds_nobody_up(mute: str) -> None:
    async with editor([*COMMAND[:-2], "--server", mute]) as talking:
        talking.open(URI, OPENED)
        assert await talking.ask(URI, AT) == []
        assert "does not respond" in (await talking.status("error"))["message"]
        assert await talking.ask(URI, AT) == []


async def test_a_server_that_was_killed_is_found_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    serve = [sys.executable, "-m", "starling_server", "--base", "tiny", "--port", port]
    async with editor([*COMMAND[:-2], "--server", f"http://127.0.0.1:{port}"]) as talking:
        talking.open(URI, OPENED)
        assert "start serve-copilot" in (await talking.status("error"))["message"]
        for number in range(2):
            server = await asyncio.create_subprocess_exec(*serve, stdout=DEVNULL, stderr=DEVNULL)
            await talking.status("ready")
            assert await talking.ask(URI, AT)
            server.kill()
            await server.wait()
            talking.open(f"{URI}{number}", OPENED)  # the answer at the other place is known without a server
            assert await talking.ask(f"{URI}{number}", AT) == []
            assert (await talking.status("error"))["message"]


async def generations(talking: Editor) -> tuple[int, int]:
    """How many the model has begun, and how many run."""
    answer = await talking.client.protocol.send_request_async("starling/health", {})
    begun, running = answer.generations
    return begun, running


async def test_twenty_keys_at_forty_milliseconds() -> None:
    """Most keys come and go while the server waits for the next one; what was begun ends with the last answer."""
    async with editor([*COMMAND, "--no-prefetch"], name="Visual Studio Code") as talking:
        await talking.status("ready")
        talking.open(URI, LINES)
        await talking.ask(URI, (12, 0))
        before, _ = await generations(talking)
        asked = list[asyncio.Task[object]]()
        for column, key in enumerate("items_by_name_and_key"[:20]):
            talking.edit(URI, (12, column), (12, column), key)
            asked.append(asyncio.create_task(talking.ask(URI, (12, column + 1))))
            await asyncio.sleep(0.04)
        *_, last = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(last, list)
        begun, running = await generations(talking)
        assert begun - before <= 2
        assert running == 0


async def test_waits_grow_to_half_a_minute() -> None:
    waits = link.waits()
    assert [next(waits) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


async def test_distinct_choices() -> None:
    choices = [Choice(text=text, finish_reason="stop") for text in ("", "a b", "a  b", "c", "d", "e")]
    assert [choice.text for choice in distinct(choices)] == ["a b", "c", "d"]
    assert [choice.text for choice in distinct(choices[:1])] == [""]
