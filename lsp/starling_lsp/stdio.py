"""Messages from standard input, each read by one trip to a thread.

pygls makes a trip for every header line and one for the body, three or four a message, and a trip costs two wake-ups:
one of the 3 ms of processor time that a key cost.
"""

import asyncio
from concurrent.futures import Executor
from io import BytesIO
from typing import BinaryIO

LENGTH = b"content-length:"


class Messages:
    """pygls' `AsyncReader` over a blocking stream."""

    def __init__(self, stream: BinaryIO, executor: Executor | None) -> None:
        self._stream, self._executor = stream, executor
        self._message = BytesIO()

    async def readline(self) -> bytes:
        """The next line with its end; nothing at the end of the stream."""
        line = self._message.readline()
        if not line:
            loop = asyncio.get_running_loop()
            self._message = BytesIO(await loop.run_in_executor(self._executor, whole, self._stream))
            line = self._message.readline()
        return line

    async def readexactly(self, n: int) -> bytes:
        """The next `n` bytes of the message, fewer where the stream ended within it."""
        return self._message.read(n)


def whole(stream: BinaryIO) -> bytes:
    """Headers and body of the next message; nothing at the end of the stream."""
    lines, length = list[bytes](), 0
    while (line := stream.readline()).strip():
        lines.append(line)
        if line.lower().startswith(LENGTH):
            length = _number(line[len(LENGTH) :])
    return b"".join((*lines, line, stream.read(length)))


def _number(text: bytes) -> int:
    """As pygls has it: a header that it does not understand is none."""
    return int(text) if text.strip().isdigit() else 0
