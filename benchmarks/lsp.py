"""The language server's own cost per key, without the model, on a file of 5,000 lines.

    python benchmarks/lsp.py [--lines 5000] [--keys 2000]

A real language server over stdio. Its completer answers at once with a fixed text, so that only editing, positions, the
request, statistics and the transport remain. A key is an edit and the request after it, timed from sending the edit to
receiving the answer, with a client that only writes and reads JSON. `server_processor_ms` is the processor time of the
server's process in it.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import psutil
from report import last_line, machine, show

from starling_lsp.answering.completer import Completer
from starling_lsp.handlers import create_server
from starling_lsp.options import Options
from starling_server.schema import Choice, CompleteRequest, CompleteResponse, Timings, Usage

URI = "file:///work/long.py"
LINE = "    value_{n} = compute(first_{n}, second_{n})  # é 😀\n"
SERVE = "--answer-at-once"
STATUS = "starling/status"
AUTOMATIC = 2


class AtOnce:
    """A completer without a model."""

    base, adapter, device, generations = "none", None, "none", None

    def __init__(self) -> None:
        self._ids = count()

    def adapter_of(self, around: Sequence[Path]) -> str | None:
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


def serve() -> None:
    """Run the language server over stdio."""
    create_server({}, at_once).start_io()


class Editor:
    """A client with minimal overhead: JSON over a language server's pipes, one request at a time."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__, SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._server.stdin
        assert self._server.stdout
        self._to, self._from, self._ids = self._server.stdin, self._server.stdout, count(1)

    def processor_seconds(self) -> float:
        """What the server has used of the processor so far."""
        times = psutil.Process(self._server.pid).cpu_times()
        return times.user + times.system

    def notify(self, method: str, params: dict[str, Any] | None) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    def request(self, method: str, params: dict[str, Any] | None) -> Any:
        """Send a request and return the response."""
        number = next(self._ids)
        self._send({"id": number, "method": method, "params": params})
        return self.wait(lambda message: message.get("id") == number)["result"]

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next message that is wanted; earlier ones are dropped. Raises EOFError if the server has ended."""
        while not wanted(message := self._read()):
            pass
        return message

    def close(self) -> None:
        """End the server."""
        self.request("shutdown", None)
        self.notify("exit", None)
        self._server.wait(10)

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._to.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._to.flush()

    def _read(self) -> dict[str, Any]:
        length = 0
        while (line := self._from.readline()) != b"\r\n":
            if not line:
                raise EOFError("the language server has ended")
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return json.loads(self._from.read(length))


def ready() -> Editor:
    """A client with an initialised language server."""
    editor = Editor()
    editor.request("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
    editor.notify("initialized", {})
    editor.wait(lambda message: message.get("method") == STATUS and message["params"]["kind"] == "ready")
    return editor


def key(editor: Editor, line: int, column: int, version: int) -> Any:
    """Type one character and request a completion."""
    at, after = {"line": line, "character": column}, {"line": line, "character": column + 1}
    change = {"range": {"start": at, "end": at}, "text": "x"}
    document = {"uri": URI, "version": version}
    editor.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})
    asked = {"textDocument": {"uri": URI}, "position": after, "context": {"triggerKind": AUTOMATIC}}
    return editor.request("textDocument/inlineCompletion", asked)


def keys(editor: Editor, lines: int, number: int) -> list[float]:
    """Milliseconds of each key, in the middle of the file, twenty keys per line."""
    text = "".join(LINE.format(n=n) for n in range(lines))
    document = {"uri": URI, "languageId": "python", "version": 1, "text": text}
    editor.notify("textDocument/didOpen", {"textDocument": document})
    times = list[float]()
    for typed in range(number):
        started = perf_counter()
        answer = key(editor, lines // 2 + typed // 20, 4 + typed % 20, typed + 2)
        times.append((perf_counter() - started) * 1e3)
        assert len(answer["items"]) == 1
    return times


def measure(lines: int, number: int) -> tuple[list[float], float]:
    """Times of all keys, and the server's processor milliseconds per key."""
    editor = ready()
    keys(editor, lines, 50)
    before = editor.processor_seconds()
    times = keys(editor, lines, number)
    after = editor.processor_seconds()
    editor.close()
    return times, (after - before) * 1e3 / number


def main() -> None:
    if sys.argv[1:] == [SERVE]:
        serve()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=5_000)
    parser.add_argument("--keys", type=int, default=2_000)
    asked = parser.parse_args()
    times, processor = measure(asked.lines, asked.keys)
    figures = {
        "p50_ms": round(median(times), 2),
        "p99_ms": round(quantiles(times, n=100)[-1], 2),
        "server_processor_ms": round(processor, 2),
    }
    show(f"{asked.keys} keys in a file of {asked.lines} lines", {"a key": figures})
    last_line({"lines": asked.lines, "keys": asked.keys, **figures, "machine": machine()})


if __name__ == "__main__":
    main()
