"""A spawned language server and an editor that may send any bytes."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 120.0
Json = dict[str, Any]


def framed(content: Any, header: str = "Content-Length: {}\r\n\r\n") -> bytes:
    """A frame around JSON, or around bytes as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return header.format(len(body)).encode() + body


class Wire:
    """The streams of one server, and all that it has sent."""

    def __init__(self, process: "subprocess.Popen[bytes]", answer: Callable[[Json], Json] | None) -> None:
        self.process = process
        self._answer = answer
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self.replies = dict[int | str | None, list[Json]]()
        self.heard = list[Json]()
        """Its own notifications and requests."""
        self.asked = self.frames = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, *frames: bytes) -> None:
        """Write whole frames, or anything else."""
        assert self.process.stdin is not None
        with self._writing:
            self.process.stdin.write(b"".join(frames))
            self.process.stdin.flush()
            self.frames += len(frames)

    def notify(self, method: str, params: Any = None) -> None:
        """A notification of the right form."""
        self.send(framed({"jsonrpc": "2.0", "method": method, "params": params}))

    def ask(self, method: str, params: Any = None) -> int:
        """A request of the right form; its id."""
        self.asked += 1
        self.send(framed({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}))
        return self.asked

    def reply(self, id: int | str | None) -> Json:
        """The first reply to a request, once it is there."""
        self.until(lambda: bool(self.replies.get(id)), f"reply to {id!r}")
        return self.replies[id][0]

    def call(self, method: str, params: Any = None) -> Any:
        """The result of a request."""
        reply = self.reply(self.ask(method, params))
        assert "result" in reply, reply
        return reply["result"]

    def until(self, there: Callable[[], bool], what: str) -> None:
        """Wait for a condition on what has come."""
        with self._changed:
            assert self._changed.wait_for(there, PATIENCE), f"{what} never came"

    def initialize(self, **params: Any) -> Json:
        """Initialize it in the usual way; the capabilities that it announces."""
        result = self.call("initialize", {"processId": os.getpid(), "rootUri": None, "capabilities": {}, **params})
        self.notify("initialized", {})
        return result["capabilities"]

    def statuses(self) -> list[str]:
        """The kinds of status so far."""
        return [each["params"]["kind"] for each in self.heard if each.get("method") == "starling/status"]

    def counts(self) -> Counter[int | str | None]:
        """How many replies came to each id."""
        return Counter({id: len(replies) for id, replies in self.replies.items()})

    def _listen(self) -> None:
        while (message := self._read()) is not None:
            with self._changed:
                if "method" in message:
                    self.heard.append(message)
                else:
                    self.replies.setdefault(message["id"], []).append(message)
                self._changed.notify_all()
            if "id" in message and "method" in message and self._answer:
                answer = framed({"jsonrpc": "2.0", "id": message["id"], **self._answer(message)})
                threading.Thread(target=self.send, args=[answer], daemon=True).start()  # reading must go on

    def _read(self) -> Json | None:
        assert self.process.stdout is not None
        length = 0
        while (line := self.process.stdout.readline()).strip():
            if line.startswith(b"Content-Length:"):
                length = int(line.partition(b":")[2])
        return json.loads(self.process.stdout.read(length)) if line else None


@contextmanager
def wire(
    *flags: str | Path, answer: Callable[[Json], Json] | None = None, errors: Path | None = None
) -> Generator[Wire]:
    """A language server; `answer` makes the answers to its own requests, `errors` gets its log."""
    command: Sequence[str | Path] = [sys.executable, "-m", "starling_lsp", *flags]
    pipe = subprocess.PIPE
    with (
        open(errors or os.devnull, "wb") as log,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log) as process,
    ):
        try:
            yield Wire(process, answer)
        finally:
            process.kill()
