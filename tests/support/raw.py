"""HTTP as bytes: what no client library would send, and every answer that comes back."""

import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

SILENCE = 0.4
"""Seconds after which nothing more is expected."""
PATIENCE = 30.0
_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a connection brought."""

    statuses: list[int]
    bodies: list[bytes]
    closed: bool
    """Whether the server ended it."""


def connect(url: str) -> socket.socket:
    """A connection to the server at `url`."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def exchange(url: str, sent: bytes, answers: int = 1) -> Heard:
    """Send bytes, and hear what comes: so many answers, and whatever follows them soon."""
    with connect(url) as line:
        with suppress(OSError):  # it may be closed meanwhile: what was said before lies here
            line.sendall(sent)
        return hear(line, answers)


def hear(line: socket.socket, answers: int = 1) -> Heard:
    """Read until the server closes or is silent, with patience for the first `answers` answers."""
    data, closed = b"", False
    while True:
        line.settimeout(PATIENCE if len(split(data)[0]) < answers else SILENCE)
        try:
            more = line.recv(1 << 16)
        except TimeoutError:
            break
        except OSError:
            more = b""
        if not more:
            closed = True
            break
        data += more
    return Heard(*split(data), closed)


def split(data: bytes) -> tuple[list[int], list[bytes]]:
    """Whole answers: their statuses and bodies. One without a length lasts until the end."""
    statuses, bodies = list[int](), list[bytes]()
    while b"\r\n\r\n" in data:
        head, _, rest = data.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        interim = head.split(b" ", 2)[1].startswith(b"1")
        size = 0 if interim else int(found[1]) if found else len(rest)
        if len(rest) < size:
            break
        statuses.append(int(head.split(b" ", 2)[1]))
        bodies.append(rest[:size])
        data = rest[size:]
    return statuses, bodies
