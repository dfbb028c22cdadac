"""Messages come out as they went in, however they were cut on their way, and what is none does not stop the reader."""

import os
import threading
from io import BytesIO

import pytest

from starling_lsp.wire.frames import LARGEST, Frame, each, read


def framed(body: bytes, *headers: bytes) -> bytes:
    return b"".join((*headers, b"Content-Length: %d\r\n\r\n" % len(body), body))


def frames(stream: bytes) -> list[Frame]:
    source = BytesIO(stream)
    return list(iter(lambda: read(source), None))


async def test_bodies_come_out_whole() -> None:
    sent = [b"{}", "ä😀\r\n\r\nContent-Length: 3".encode(), b"x" * 300_000]
    begin, end = os.pipe()
    stream = framed(sent[0]) + framed(sent[1], b"Content-Type: utf-8\r\n") + framed(sent[2])

    def drip() -> None:
        with os.fdopen(end, "wb", buffering=0) as sink:
            for at in range(0, 200):
                sink.write(stream[at : at + 1])
            sink.write(stream[200:])

    thread = threading.Thread(target=drip)
    thread.start()
    got = list[Frame]()
    with os.fdopen(begin, "rb") as source:
        await each(source, None, got.append)
    assert got == [Frame(body) for body in sent]
    thread.join()


@pytest.mark.parametrize("rest", [b"", b"\r\n", b"Content-Length: 10\r\n", b"Content-Length: 10\r\n\r\nabc", b"Conte"])
def test_a_stream_may_end_anywhere(rest: bytes) -> None:
    assert frames(framed(b"{}") + rest) == [Frame(b"{}")]


@pytest.mark.parametrize(
    "header",
    [
        b"content-length: 2\r\n\r\n",
        b"CONTENT-LENGTH:2\r\n\r\n",
        b"Content-Length :  2 \r\n\r\n",
        b"Content-Length: 2\n\n",
        b"\r\nContent-Length: 2\r\n\r\n",
        b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 2\r\nX-More: 1\r\n\r\n",
        b"Content-Length: 9\r\nContent-Length: 2\r\n\r\n",
        b"X-Content-Length: 9\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_headers_of_any_spelling(header: bytes) -> None:
    assert frames(header + b"{}" + framed(b"[]")) == [Frame(b"{}"), Frame(b"[]")]


@pytest.mark.parametrize("length", [b"many", b"-2", b"", b"2.0", b"%d" % (LARGEST + 1), b"9" * 30])
def test_after_a_length_that_is_none_comes_the_next_frame(length: bytes) -> None:
    wrong = b"Content-Length: " + length + b"\r\n\r\n{}"
    assert frames(wrong + framed(b"[]")) == [Frame(b"[]", b"{}")]


def test_after_a_wrong_length_the_next_header_is_found() -> None:
    body = b'{"a": "b"}'
    short = b"Content-Length: 4\r\n\r\n" + body
    assert frames(short + framed(b"[]")) == [Frame(body[:4]), Frame(b"[]", body[4:])]
    long = b"Content-Length: 13\r\n\r\n" + body
    lost, found = frames(long + framed(b"{}") + framed(b"[]"))
    assert lost == Frame(body + b"Con")
    assert found == Frame(b"[]", b"{}"), "its header went with the body before it"
