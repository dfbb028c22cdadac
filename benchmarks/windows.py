"""Memory of several editor windows: one shared model against a model in each.

    python benchmarks/windows.py [--windows 3] [--base tiny]

Real language servers over stdio start at the same moment and answer one request each. `shared` servers run with
`--server auto`: one server holds the model. `own` servers each load the model. Memory is the proportional set size of
all their processes (pages shared by several processes count once); `opened_s` is the time until all have answered. Then
the shared server is killed with -9, and `back_s` is the time until the next request has its suggestion. Linux.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil
from lsprotocol import types
from pygls.lsp.client import LanguageClient
from report import last_line, machine, show

from starling_server import server_record

TEXT = "".join(f"item_{n} = make_item({n})\n" for n in range(12)) + "item_12 = make"
AT = types.Position(12, 14)


class Window:
    """An editor with one document."""

    def __init__(self, number: int) -> None:
        self.client, self.ready = LanguageClient("benchmark", "1"), asyncio.Event()
        self._uri, self._number = f"file:///work/{number}.py", 0

        def heard(params: Any) -> None:
            if params.kind == "ready":
                self.ready.set()

        self.client.feature("starling/status")(heard)

    async def open(self, *flags: str) -> None:
        await self.client.start_io(sys.executable, "-m", "starling_lsp", *flags)
        await self.client.initialize_async(types.InitializeParams(types.ClientCapabilities()))
        self.client.initialized(types.InitializedParams())
        await self.ready.wait()
        await self.suggested()

    async def suggested(self) -> None:
        """Send requests in a new document until there is a suggestion."""
        self._number += 1
        uri = f"{self._uri}?{self._number}"
        item = types.TextDocumentItem(uri, types.LanguageKind.Python, 1, TEXT)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        context = types.InlineCompletionContext(types.InlineCompletionTriggerKind.Invoked)
        params = types.InlineCompletionParams(context, types.TextDocumentIdentifier(uri), AT)
        while True:
            answer = await self.client.text_document_inline_completion_async(params)
            if isinstance(answer, types.InlineCompletionList) and answer.items:
                return
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        await self.client.shutdown_async(None)
        self.client.exit(None)
        await self.client.stop()


@asynccontextmanager
async def windows(count: int, *flags: str) -> AsyncGenerator[list[Window]]:
    """Windows that were opened at the same moment and have all answered."""
    async with AsyncExitStack() as stack:
        opened = [Window(number) for number in range(count)]
        for window in opened:
            stack.push_async_callback(window.close)
        await asyncio.gather(*(window.open(*flags) for window in opened))
        yield opened


def megabytes() -> float:
    """Memory of all processes below this one; the shared server is below the window that started it."""
    processes = psutil.Process().children(recursive=True)
    return sum(process.memory_full_info().pss for process in processes) / 1e6


async def shared(count: int, base: str, state: Path) -> dict[str, float]:
    """One server for all windows."""
    began = perf_counter()
    async with windows(count, "--base", base, "--server", "auto") as opened:
        opened_s, memory = perf_counter() - began, megabytes()
        [path] = (state / "servers").glob("*.json")
        record = server_record.read(path)
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)
        began = perf_counter()
        await opened[0].suggested()
        back_s = perf_counter() - began
    after = server_record.read(path)
    assert after is not None
    assert after.pid != record.pid
    os.kill(after.pid, signal.SIGTERM)
    return {"opened_s": opened_s, "memory_mb": memory, "back_s": back_s}


async def own(count: int, base: str) -> dict[str, float]:
    """A model in each window."""
    began = perf_counter()
    async with windows(count, "--base", base):
        return {"opened_s": perf_counter() - began, "memory_mb": megabytes()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--base", default="tiny")
    asked, where = parser.parse_args(), machine()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STARLING_STATE_DIR"] = folder
        sides = {
            "shared": asyncio.run(shared(asked.windows, asked.base, Path(folder))),
            "own": asyncio.run(own(asked.windows, asked.base)),
        }
    rounded = {name: {field: round(value, 2) for field, value in side.items()} for name, side in sides.items()}
    show(f"{asked.windows} windows", rounded)
    last_line(
        {"benchmark": "windows", "windows": asked.windows, "base": asked.base, "sides": rounded, "machine": where}
    )


if __name__ == "__main__":
    main()
