"""Clients of parser processes (`parser_process`), which are restarted when they end: one for each purpose."""

import atexit
import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

PIECE = 1 << 16
PROCESS = Path(__file__).with_name("parser_process.py")
Purpose = Literal["suggestions", "index"]
"""An index parses thousands of files: suggestions must not wait for them."""
PURPOSES: tuple[Purpose, ...] = ("suggestions", "index")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A text with the package and function of its language's grammar."""

    package: str
    function: str
    text: bytes


class Client:
    """One parser process and the source that it parsed last. Thread-safe: requests are serialised."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._held: Source | None = None
        self._is_ready = self._is_over = False

    def parse(self, source: Source) -> bool | None:
        """Whether `source` has no syntax errors; None if it exceeds its limits or no process is available."""
        with self._lock:
            return self._parse(source)

    def kinds(self, source: Source, byte: int) -> list[tuple[str, int, int]] | None:
        """The named nodes around `byte` of `source`, see `parser_process.Trees.kinds`; None as for `parse`."""
        with self._lock:
            self._running()  # detects an ended process, which holds no tree
            if self._held is not source and self._parse(source) is None:
                return None
            return self._ask({"byte": byte, "of": len(source.text)})

    def matches(self, source: Source, query: str) -> list[dict[str, tuple[int, int]]] | None:
        """Parse `source` and match `query`, see `parser_process.Trees.matches`; None as for `parse`."""
        with self._lock:
            if self._parse(source) is None:
                return None
            return self._ask({"query": query, "of": len(source.text)})

    def rest(self) -> None:
        """End the process, which takes some 40 MB; the next text starts another."""
        with self._lock:
            self._end()

    def close(self) -> None:
        """Kill the process and start no other."""
        self._is_over = True
        self._end()

    def forget(self) -> None:
        """Close the pipes without killing the process: in a fork, it belongs to the parent."""
        if self._process is not None:
            self._process.returncode = 0
            _close(self._process)

    def _parse(self, source: Source) -> bool | None:
        self._held = None
        size = len(source.text)
        about = {"package": source.package, "function": source.function, "size": size, "of": size}
        whole = self._ask(about, source.text)
        self._held = None if whole is None else source
        return whole

    def _ask(self, request: dict[str, Any], text: bytes = b"") -> Any | None:
        """The response; None if there is none."""
        process = self._running()
        if process is None or not self._hears(process):
            return None
        try:
            return _exchange(process, json.dumps(request).encode() + b"\n" + text)
        except (OSError, EOFError, ValueError):  # the process ended, perhaps within its response
            self._held = None
            self._end()
            self._start()  # ready by the next text
            return None

    def _running(self) -> "subprocess.Popen[bytes] | None":
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is None:
            self._start()
        return self._process

    def _start(self) -> None:
        if self._is_over:
            return
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(PROCESS)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                bufsize=0,  # a fork closes the pipes and must not flush a thread's pending write
                start_new_session=True, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )  # fmt: skip
        except OSError as error:
            self._give_up(error.strerror or "no process could be started")

    def _hears(self, process: "subprocess.Popen[bytes]") -> bool:
        """Whether the process has reported that it is ready."""
        try:
            self._is_ready = self._is_ready or bool(_exchange(process, b""))
        except (OSError, EOFError, ValueError):
            self._give_up(f"{sys.executable} ended while it imported tree-sitter")
        return self._is_ready

    def _give_up(self, why: str) -> None:
        if not self._is_over:
            _log.warning("Syntax trees are unavailable (%s): suggestions end by indentation alone.", why)
        self.close()

    def _end(self) -> None:
        process, self._process, self._is_ready, self._held = self._process, None, False, None
        if process is not None:
            process.kill()
            _close(process)
            process.wait()


def _exchange(process: "subprocess.Popen[bytes]", request: bytes) -> Any:
    """Send `request` and read the response, one line; raises OSError, EOFError or ValueError if the process ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    left = memoryview(request)
    while left:
        left = left[process.stdin.write(left) :]
    answer = bytearray()
    while not answer.endswith(b"\n"):
        heard = process.stdout.read(PIECE)
        if not heard:
            raise EOFError
        answer += heard
    return json.loads(answer)


def _close(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


@cache
def client(purpose: Purpose) -> Client:
    """The client of this process for `purpose`."""
    return Client()


def _renew() -> None:
    """Drop the inherited clients in a fork: their parsers belong to the parent."""
    for purpose in PURPOSES:
        client(purpose).forget()
    client.cache_clear()


def _close_all() -> None:
    for purpose in PURPOSES:
        client(purpose).close()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
