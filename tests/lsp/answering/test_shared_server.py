"""`--server auto`: one model for all of a user's editors, started once, replaced when it dies or hangs."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil
import pytest
from support import adapter
from support.editor import COMMAND, Editor, editor
from support.shared import end_servers, servers

from starling_lsp.answering import shared_server
from starling_lsp.answering.remote import Remote
from starling_lsp.answering.shared import flags
from starling_lsp.answering.shared_server import Place
from starling_lsp.options import Options
from starling_server import server_record
from starling_server.client import Client
from starling_server.models import adapters, bases
from starling_server.server_record import Running

LINES = "".join(f"item_{n} = make_item({n})\n" for n in range(12))
URI = "file:///work/pattern.py"
AT = (12, 14)
OPENED = LINES + "item_12 = make"
SHARED = [*COMMAND, "--server", "auto"]


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Where servers of this test leave their records; none outlives it."""
    monkeypatch.setenv("STARLING_STATE_DIR", str(tmp_path))
    folder = tmp_path / "servers"
    yield folder
    end_servers(folder)


def record_in(folder: Path) -> Running:
    [path] = folder.glob("*.json")
    found = server_record.read(path)
    assert found is not None
    return found


def mode_of_record(folder: Path) -> int:
    [path] = folder.glob("*.json")
    return stat.S_IMODE(path.stat().st_mode)


@asynccontextmanager
async def windows(count: int, command: Sequence[str] = SHARED) -> AsyncGenerator[list[Editor]]:
    """Editors that open at the same moment."""
    async with AsyncExitStack() as stack:
        opened = [stack.enter_async_context(editor(list(command))) for _ in range(count)]
        yield list(await asyncio.gather(*opened))


async def asked(window: Editor, uri: str = URI) -> str:
    """The suggestion there, asked for again where a request came to its end before the server was there."""
    for _ in range(10):
        if items := await window.ask(uri, AT):
            assert isinstance(items[0].insert_text, str)
            return items[0].insert_text
        await window.status("ready")
    raise AssertionError(f"nothing, ten times; {window.statuses[-1]}")


async def test_windows_that_open_at_once_share_one_model(records: Path) -> None:
    async with windows(5) as opened:
        for window in opened:
            await window.status("ready")
            window.open(URI, OPENED)
        texts = await asyncio.gather(*(asked(window) for window in opened))
        assert len(set(texts)) == 1, "the same document in another window takes no answer away"
        assert texts[0].strip()
        assert len(servers(records)) == 1
        assert mode_of_record(records) == 0o600
        assert record_in(records).token not in " ".join(servers(records)[0].cmdline())
    assert len(servers(records)) == 1, "it outlives its editors"


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hung"])
async def test_a_lost_server_is_replaced(records: Path, blow: signal.Signals) -> None:
    async with windows(2) as (window, other):
        for each in (window, other):
            await each.status("ready")
            each.open(URI, OPENED)
        before = await asked(window)
        lost = record_in(records).pid
        os.kill(lost, blow)
        window.open(URI + "2", OPENED)
        assert await asked(window, URI + "2") == before
        assert await asked(other) == before
        assert record_in(records).pid != lost
        assert len(servers(records)) == 1


async def test_a_base_that_is_not_there_is_said_once(records: Path) -> None:
    command = [sys.executable, "-m", "starling_lsp", "--server", "auto", "--base", "/no/such/base"]
    async with windows(1, command) as [window]:
        assert "There is no base '/no/such/base'" in (await window.status("error"))["message"]
        said = len(window.statuses)
        _, living = await asyncio.to_thread(psutil.wait_procs, servers(records), 60)
        assert not living
        assert len(window.statuses) == said, "it is not tried again"


async def test_a_server_ends_when_nobody_asks(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    command = [sys.executable, "-m", "starling_server", "--base", "tiny", "--port", "0", "--announce", str(record)]
    process = await asyncio.to_thread(subprocess.run, [*command, "--idle-minutes", "0.01"], timeout=120, check=False)
    assert process.returncode == 0
    assert not record.exists()


def test_versions_and_flags_have_servers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Place(("--base", "tiny"))
    assert Place(("--base", "other")).record != tiny.record
    before = tiny.record
    monkeypatch.setattr(shared_server, "__version__", "999")
    assert tiny.record != before


def test_a_left_over_record_is_no_server(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(Running(version="1", pid=os.getpid(), url="http://127.0.0.1:9", token="t").model_dump_json())
    assert server_record.read(path) is None
    with server_record.announced(path, Running(version="1", pid=1, url="http://127.0.0.1:9", token="t")):
        assert server_record.read(path) is not None
    assert not path.exists()


def test_trouble_of_an_announced_server_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record = Running(version="1", pid=1, url="http://127.0.0.1:9", token="t")
    with pytest.raises(OSError, match="a disk of its own"), server_record.announced(path, record):
        raise OSError("a disk of its own")
    assert not path.exists()
    assert not server_record.alive(path)


def test_a_folder_of_an_adapter_is_served_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = adapter.write(tmp_path / "team", bases.find("tiny"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in (str(folder), "~/team"):
        assert flags(Options(adapter=given), ())[-2:] == ["--adapter", str(folder.resolve())]
        assert Remote(Client("http://127.0.0.1:1"), given).adapter_of([]) == "team"
    adapter.write(adapters.home() / "mine", bases.find("tiny"))
    assert "--adapter" not in flags(Options(adapter="mine"), ())
