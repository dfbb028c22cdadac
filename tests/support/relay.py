"""What the tests and the benchmark of `--engine` share: servers, a door between two of them, questions to both."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Self

from starling_server.client import Client
from starling_server.schema import CompleteRequest

SOURCE = Path(__file__).parents[2] / "server" / "starling_server"
EXACT = ("--quantize", "none", "--dtype", "float32")
"""With 16 bits a near tie may fall by what is in a server's cache."""
LONG = CompleteRequest(prefix="def f():\n", max_tokens=512, mode="block", temperature=1.5, n=8, seed=1)


class Gate:
    """A door between two servers: counts answers' pieces, and connections that the asking side closed."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.removeprefix("http://").partition(":")
        self._port = int(port)
        self.pieces, self.closed, self.closed_at = 0, 0, 0.0
        self._changed = asyncio.Condition()
        self._shut = False
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._drop()

    def shut(self) -> None:
        """Let nobody through, and end what is under way."""
        self._shut = True
        self._drop()

    def open(self) -> None:
        self._shut = False

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that comes through or is closed."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(holds), 60)

    def _drop(self) -> None:
        for writer in list(self._writers):
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._shut:
            writer.close()
            return
        there, here = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, here}
        answering = asyncio.create_task(self._copy(there, writer, answer=True))
        await self._copy(reader, here)
        self.closed, self.closed_at = self.closed + 1, time.perf_counter()
        await self._tell()
        await answering
        self._writers -= {writer, here}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
                if answer:
                    self.pieces += 1
                    await self._tell()
        with contextlib.suppress(OSError):
            writer.close()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def requests(count: int) -> list[CompleteRequest]:
    """Places in our own source, the same each time: half of them at the end of a line's indentation, half anywhere."""
    random, files = Random(7), sorted(SOURCE.rglob("*.py"))
    made = list[CompleteRequest]()
    while len(made) < count:
        text = random.choice(files).read_text(encoding="utf-8")
        at = random.randrange(len(text))
        if len(made) % 2:
            at = text.rfind("\n", 0, at) + 1
        made.append(CompleteRequest(prefix=text[:at], suffix=text[text.find("\n", at) :], max_tokens=48))
    return made


async def agreeing(one: Client, other: Client, asked: Sequence[CompleteRequest]) -> int:
    """How many of the answers are the same."""
    same = 0
    for request in asked:
        first, second = await one.complete(request), await other.complete(request)
        same += [choice.text for choice in first.choices] == [choice.text for choice in second.choices]
    return same


async def cancel_ms(relay: Client, gate: Gate) -> float:
    """From a client that leaves while text is written to the closing of the other server's connection."""
    pieces, closed = gate.pieces, gate.closed
    asked = asyncio.create_task(relay.complete(LONG))
    await gate.until(lambda: gate.pieces > pieces + 3)
    left = time.perf_counter()
    asked.cancel()
    await gate.until(lambda: gate.closed > closed)
    return (gate.closed_at - left) * 1e3


@contextmanager
def serve(*flags: str) -> Generator[str]:
    """The address of a serve-copilot of its own."""
    command = [sys.executable, "-m", "starling_server", "--base", "tiny", "--port", "0", "--deadline-ms", "60000"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        try:
            assert said.startswith("Listening on "), said
            yield said.removeprefix("Listening on ").strip()
        finally:
            process.terminate()
