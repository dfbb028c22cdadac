"""What the language server itself costs a key: everything but the model, on a file of 5,000 lines.

    python benchmarks/lsp.py [--lines 5000] [--keys 2000]

A real language server over stdio, whose completer answers at once with the same text, so that all that is left is
editing, positions, the request, statistics and the wire. A key is an edit and the request after it, measured from
sending the edit to having the answer, the benchmark's own client included; `server_processor_ms` is what of it the
server's process computed.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any

from lsprotocol import types
from pygls.lsp.client import LanguageClient
from report import last_line, machine, show

from starling_lsp.completer import Completer
from starling_lsp.handlers import create_server
from starling_lsp.options import Options
from starling_server.schema import Choice, CompleteRequest, CompleteResponse, Timings, Usage

URI = "file:///work/long.py"
LINE = "    value_{n} = compute(first_{n}, second_{n})  # é 😀\n"
SERVE = "--answer-at-once"
USED = "benchmark/processorTime"


class AtOnce:
    """Answers without a model."""

    base, adapter, device, generations = "none", None, "none", None

    def __init__(self) -> None:
        self._ids = count()

    def adapter_of(self, folder: Path | None) -> str | None:
        return None

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        choice = Choice(text="answer()", finish_reason="stop")
        used, times = Usage(prompt_tokens=1), Timings()
        return CompleteResponse(
            id=str(next(self._ids)), base="none", adapter=None, choices=[choice], usage=used, timings=times
        )

    def remembers(self, request: CompleteRequest) -> bool:
        return True

    async def close(self) -> None:
        pass


async def at_once(options: Options, roots: Sequence[Path]) -> Completer:
    return AtOnce()


def used(params: Any) -> float:
    return process_time()


def serve() -> None:
    """Be the language server, over stdio."""
    server = create_server({}, at_once)
    server.feature(USED)(used)
    server.start_io()


@asynccontextmanager
async def editor() -> AsyncGenerator[LanguageClient]:
    """A language server that is ready."""
    client, ready = LanguageClient("benchmark", "1"), asyncio.Event()

    def heard(params: Any) -> None:
        if params.kind == "ready":
            ready.set()

    client.feature("starling/status")(heard)
    await client.start_io(sys.executable, __file__, SERVE)
    await client.initialize_async(types.InitializeParams(types.ClientCapabilities()))
    client.initialized(types.InitializedParams())
    await asyncio.wait_for(ready.wait(), 60)
    yield client
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()


def key(client: LanguageClient, line: int, column: int, version: int) -> None:
    """Type one character."""
    at = types.Position(line, column)
    change = types.TextDocumentContentChangePartial(types.Range(at, at), "x")
    document = types.VersionedTextDocumentIdentifier(version, URI)
    client.text_document_did_change(types.DidChangeTextDocumentParams(document, [change]))


async def keys(client: LanguageClient, lines: int, number: int) -> list[float]:
    """Milliseconds of each key, in the middle of the file, twenty to a line."""
    text = "".join(LINE.format(n=n) for n in range(lines))
    item = types.TextDocumentItem(URI, types.LanguageKind.Python, 1, text)
    client.text_document_did_open(types.DidOpenTextDocumentParams(item))
    context = types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic)
    times = list[float]()
    for typed in range(number):
        line, column = lines // 2 + typed // 20, 4 + typed % 20
        started = perf_counter()
        key(client, line, column, typed + 2)
        at = types.Position(line, column + 1)
        params = types.InlineCompletionParams(context, types.TextDocumentIdentifier(URI), at)
        answer = await client.text_document_inline_completion_async(params)
        times.append((perf_counter() - started) * 1e3)
        assert isinstance(answer, types.InlineCompletionList)
        assert len(answer.items) == 1
    return times


async def measure(lines: int, number: int) -> tuple[list[float], float]:
    """Times of all keys, and the server's processor milliseconds for one."""
    async with editor() as client:
        await keys(client, lines, 50)
        before = await client.protocol.send_request_async(USED, {})
        times = await keys(client, lines, number)
        after = await client.protocol.send_request_async(USED, {})
        return times, (after - before) * 1e3 / number


def main() -> None:
    if sys.argv[1:] == [SERVE]:
        serve()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=5_000)
    parser.add_argument("--keys", type=int, default=2_000)
    asked = parser.parse_args()
    times, processor = asyncio.run(measure(asked.lines, asked.keys))
    figures = {
        "p50_ms": round(median(times), 2),
        "p99_ms": round(quantiles(times, n=100)[-1], 2),
        "server_processor_ms": round(processor, 2),
    }
    show(f"{asked.keys} keys in a file of {asked.lines} lines", {"a key": figures})
    last_line({"lines": asked.lines, "keys": asked.keys, **figures, "machine": machine()})


if __name__ == "__main__":
    main()
