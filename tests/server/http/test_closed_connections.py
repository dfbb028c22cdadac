"""What a closed connection leaves behind: nothing."""

import gc
from threading import Thread
from time import sleep
from typing import Any
from weakref import ref

import uvicorn
from support.raw import exchange

from starling_server.http.middleware.connection_limits import limited
from starling_server.listen import listen, url

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n"


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def test_a_closed_connection_is_freed_at_once() -> None:
    """Its timers are cancelled: one that was due later kept the connection and its buffers in memory until then."""
    born = list["ref[Any]"]()

    class Counted(limited(50)):
        """The server's connection, counted."""

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            born.append(ref(self))

    with listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(answer, http=Counted, lifespan="off", log_config=None, timeout_keep_alive=600)
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            sleep(0.01)
        statuses = [exchange(url(listener), sent).statuses for sent in (GET, BAD, GET)]
        assert statuses == [[204], [400], [204]]
        assert len(born) == 3
        while server.server_state.connections:  # until the server has noticed the end of the last one
            sleep(0.01)
        sleep(0.1)
        gc.collect()
        assert [connection() for connection in born] == [None, None, None]
        server.should_exit = True
        thread.join(10)
