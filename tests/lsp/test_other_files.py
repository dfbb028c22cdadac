"""Other files in requests: a spawned language server with the bundled base and an adapter that reads them."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from lsprotocol import types
from support import adapter
from support.editor import COMMAND, Editor, editor

from starling_lsp import other_files
from starling_lsp.other_files import OtherFiles
from starling_server.models import bases

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORDER = "from shop.money import Money\n\n\nclass Order:\n    def total(self, prices):\n        return Money("
JUMPED = "\n\n    def other(self):\n        "
FILES = {
    "shop/money.py": 'class Money:\n    """An amount in {place}."""\n\n    def share(self):\n        return self\n',
    "shop/order.py": ORDER + "0)\n",
    "shop/stock.py": "def reserve(order):\n    return order\n",
    "local.env": "SECRET=1\n",
}


def made(folder: Path, place: str) -> Path:
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text.replace("{place}", place), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [made(tmp_path_factory.mktemp(name) / "work", name) for name in ("one", "two")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ready(roots: list[Path], tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Editor]:
    """One server for all, since each loads a model for seconds."""
    reads = adapter.write(tmp_path_factory.mktemp("adapters") / "reads", bases.find("tiny"), repository_tokens=200)
    with pytest.MonkeyPatch.context() as own:
        own.setenv("STARLING_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        async with editor([*COMMAND, "--adapter", str(reads)], folders=roots, progress=True) as talking:
            await talking.status("ready")
            await until(talking, lambda said: said["files"] == 6)
            yield talking


async def health(talking: Editor) -> dict[str, Any]:
    said = await talking.client.protocol.send_request_async("starling/health", {})
    return {"files": said.files, "context": [(piece.path, piece.why) for piece in said.context]}


async def until(talking: Editor, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the server says as soon as it is so."""
    said = await health(talking)
    for _ in range(600):
        if holds(said):
            return said
        await asyncio.sleep(0.1)
        said = await health(talking)
    raise AssertionError(said)


async def carried(talking: Editor, path: Path, text: str) -> list[tuple[str, str]]:
    """The pieces in the request at the end of `text`."""
    talking.open(path.as_uri(), text)
    lines = text.split("\n")
    await talking.ask(path.as_uri(), (len(lines) - 1, len(lines[-1])))
    return (await health(talking))["context"]


async def carried_at_last(talking: Editor, path: Path, text: str, holds: Callable[[list[Any]], bool]) -> list[Any]:
    """As `carried`, once the index has followed; another file lies between two requests."""
    found = list[tuple[str, str]]()
    for _ in range(300):
        if holds(found := await carried(talking, path, text)):
            return found
        await carried(talking, path.with_name("between.py"), "x = ")
        await asyncio.sleep(0.1)
    raise AssertionError(found)


async def test_a_request_carries_what_the_file_imports(ready: Editor, roots: list[Path]) -> None:
    found = await carried_at_last(ready, roots[0] / "shop/order.py", ORDER, bool)
    assert ("shop/money.py", "import") in found
    assert "shop/order.py" not in {path for path, _ in found}, "its own file"
    assert not any("env" in path for path, _ in found)


async def test_indexing_is_shown(ready: Editor, roots: list[Path]) -> None:
    for root in roots:
        kinds = [value["kind"] for token, value in seen(ready) if token == f"starling-indexing-{root}"]
        assert (kinds[0], kinds[-1]) == ("begin", "end")


def seen(talking: Editor) -> list[tuple[str, dict[str, Any]]]:
    """Progress, whatever form the client has read it in."""
    return [
        (str(token), value if isinstance(value, dict) else {"kind": value.kind}) for token, value in talking.progress
    ]


async def test_it_holds_still_while_typing_and_changes_at_a_jump(ready: Editor, roots: list[Path]) -> None:
    path = roots[0] / "shop/order.py"
    first = await carried_at_last(ready, path, ORDER, bool)
    for typed in ("s", "sum", "sum(prices)\n", "sum(prices)\n        reserve(self"):
        assert await carried(ready, path, ORDER + typed) == first
    jumped = ORDER + "0)" + JUMPED + "reserve("
    assert await carried_at_last(ready, path, jumped, lambda found: ("shop/stock.py", "name") in found)


async def test_a_folder_has_its_own_files_and_a_file_outside_has_none(ready: Editor, roots: list[Path]) -> None:
    outside = roots[0].parent / "alone.py"
    await carried_at_last(ready, roots[1] / "shop/order.py", ORDER, bool)
    assert await carried(ready, outside, ORDER) == []


async def test_saves_deletes_and_renames_are_followed(ready: Editor, roots: list[Path]) -> None:
    stock, money, order = (roots[0] / "shop" / name for name in ("stock.py", "money.py", "order.py"))
    stock.write_text("def reserve_all(order):\n    return order\n", encoding="utf-8")
    ready.client.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(stock.as_uri())))
    wanted = ORDER + "0)" + JUMPED + "reserve_all("
    await carried_at_last(ready, order, wanted, lambda found: ("shop/stock.py", "name") in found)

    moved = stock.with_name("store.py")
    stock.rename(moved)
    renamed = types.FileRename(stock.as_uri(), moved.as_uri())
    ready.client.workspace_did_rename_files(types.RenameFilesParams([renamed]))
    await carried_at_last(ready, order, wanted, lambda found: ("shop/store.py", "name") in found)

    money.unlink()
    gone = types.FileEvent(money.as_uri(), types.FileChangeType.Deleted)
    ready.client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([gone]))
    await until(ready, lambda said: said["files"] == 5)
    assert "shop/money.py" not in {path for path, _ in await carried(ready, order, ORDER)}

    (roots[0] / "shop/fresh.py").write_text("def reserve_some(order):\n    return order\n", encoding="utf-8")
    new = types.FileEvent((roots[0] / "shop/fresh.py").as_uri(), types.FileChangeType.Created)
    ready.client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([new]))
    await until(ready, lambda said: said["files"] == 6)


async def test_a_change_counts_in_place_once_the_cursor_rests(ready: Editor, roots: list[Path]) -> None:
    order, stock = (roots[1] / "shop" / name for name in ("order.py", "stock.py"))
    before = await carried_at_last(ready, order, ORDER, bool)
    stock.write_text("prices = {'a': 1, 'b': 2}\n", encoding="utf-8")
    changed = types.FileEvent(stock.as_uri(), types.FileChangeType.Changed)
    ready.client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([changed]))
    for _ in range(20):
        await carried(ready, order, ORDER)
        await asyncio.sleep(1.5)
        if (found := (await health(ready))["context"]) != before:
            assert ("shop/stock.py", "name") in found
            return
    raise AssertionError(before)


async def test_indexing_can_be_cancelled_and_switched_off(ready: Editor, tmp_path: Path) -> None:
    large = tmp_path / "large"
    for number in range(400):
        (large / f"f{number}.py").parent.mkdir(exist_ok=True)
        (large / f"f{number}.py").write_text(f"def made_{number}(a):\n    return a\n\n\n" * 60, encoding="utf-8")
    files = (await health(ready))["files"]
    ready.cancels = "large"
    event = types.WorkspaceFoldersChangeEvent([types.WorkspaceFolder(large.as_uri(), "large")], [])
    ready.client.workspace_did_change_workspace_folders(types.DidChangeWorkspaceFoldersParams(event))
    token = f"starling-indexing-{large}"
    await until(ready, lambda _: any(name == token and value["kind"] == "end" for name, value in seen(ready)))
    assert (await health(ready))["files"] == files
    assert await carried(ready, large / "f1.py", "made_2(") == []

    ready.configure({"starling": {"otherFiles": False}})
    await until(ready, lambda said: said["files"] == 0)
    ready.configure({"starling": {}})
    await until(ready, lambda said: said["files"] >= files)


async def test_a_late_choice_waits_for_the_next_rest(
    roots: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARLING_STATE_DIR", str(tmp_path))
    others, go_on = OtherFiles(unseen), threading.Event()
    others.follow(roots)
    others.learn(None, 200)
    for _ in range(600):
        if others.files >= 6:
            break
        await asyncio.sleep(0.05)
    choose = other_files._chosen  # pyright: ignore[reportPrivateUsage]

    def slow(*given: Any) -> Any:
        assert go_on.wait(60)
        return choose(*given)

    monkeypatch.setattr(other_files, "_chosen", slow)
    where = other_files.Where(roots[1] / "shop/order.py", ORDER, "", None)
    assert await others.context(where) == ()
    assert await others.context(where) == (), "another is not begun meanwhile"
    go_on.set()
    assert await others.context(where) == (), "not while a person types on"
    for _ in range(600):
        if await others.at_rest(where, "changed"):
            break
        await asyncio.sleep(0.05)
    assert await others.context(where) != ()
    others.learn(None, 0)
    assert await others.context(where) == ()
    others.close()


@asynccontextmanager
async def unseen(root: Path, stop: Callable[[], None]) -> AsyncGenerator[Callable[[int, int], None]]:
    yield lambda done, total: None


async def test_a_server_gets_them_too(served: str, roots: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it reads them, with its answer to an empty prompt."""
    monkeypatch.setenv("STARLING_STATE_DIR", str(roots[0].parent))
    async with editor([*COMMAND[:3], "--server", served], folders=roots) as talking:
        await talking.status("ready")
        await until(talking, lambda said: said["files"] >= 5)
        assert await carried_at_last(talking, roots[1] / "shop/order.py", ORDER, bool)
        assert (await talking.status("ready", "error"))["kind"] == "ready"


async def test_a_model_that_has_not_learnt_it_gets_none(roots: list[Path]) -> None:
    async with editor(COMMAND, folders=roots) as talking:
        await talking.status("ready")
        assert await carried(talking, roots[1] / "shop/order.py", ORDER) == []
        assert (await health(talking))["files"] == 0
