"""Messages come out as they went in, however they were cut on their way, and what is none does not stop the reader."""

import asyncio
import os
import threading
from io import BytesIO

import pytest

from starling_lsp.stdio import Messages


def framed(body: bytes, *headers: bytes) -> bytes:
    return b"".join((*headers, b"Content-Length: %d\r\n\r\n" % len(body), body))


async def bodies(messages: Messages) -> list[bytes]:
    """As pygls reads them."""
    found, length = list[bytes](), 0
    while line := await messages.readline():
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
        elif length and not line.strip():
            found.append(await messages.readexactly(length))
            length = 0
    return found


async def test_bodies_come_out_whole() -> None:
    sent = [b"{}", "ä😀\r\n\r\nContent-Length: 3".encode(), b"x" * 300_000]
    read, write = os.pipe()
    stream = framed(sent[0]) + framed(sent[1], b"Content-Type: utf-8\r\n") + framed(sent[2])

    def drip() -> None:
        with os.fdopen(write, "wb", buffering=0) as end:
            for at in range(0, 200):
                end.write(stream[at : at + 1])
            end.write(stream[200:])

    thread = threading.Thread(target=drip)
    thread.start()
    with os.fdopen(read, "rb") as source:
        assert await bodies(Messages(source, None)) == sent
    thread.join()


@pytest.mark.parametrize("rest", [b"", b"\r\n", b"Content-Length: 10\r\n", b"Content-Length: 10\r\n\r\nabc"])
async def test_a_stream_may_end_anywhere(rest: bytes) -> None:
    messages = Messages(BytesIO(framed(b"{}") + rest), None)
    async with asyncio.timeout(5):
        assert (await bodies(messages))[0] == b"{}"


async def test_a_header_that_is_no_number_is_passed_on() -> None:
    messages = Messages(BytesIO(b"Content-Length: many\r\n\r\n" + framed(b"{}")), None)
    assert await messages.readline() == b"Content-Length: many\r\n"
    assert await messages.readline() == b"\r\n"
    assert await messages.readline() == b"Content-Length: 2\r\n"
