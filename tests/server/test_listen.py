"""The listening socket, as asyncio serves it."""

import asyncio
import socket

from starling_server.listen import listen


async def test_a_response_does_not_wait_for_an_acknowledgement() -> None:
    """With Nagle's algorithm, the body of every response on a kept connection came 40 ms after its head."""
    accepted = asyncio.Queue[int]()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = writer.get_extra_info("socket")
        accepted.put_nowait(line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listen("127.0.0.1", 0) as listener:
        async with await asyncio.start_server(connected, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            assert await accepted.get()
            writer.close()
