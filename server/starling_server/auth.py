"""Authentication: tokens by name, from the environment or a file that may change while the server runs. No torch.

A file has one token a line, `name:token`, or `name:token:admin` for one that may also load and unload adapters. Empty
lines and lines that begin with `#` are skipped. Tokens never show in messages: lines are named by their number.
"""

import hashlib
import logging
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from starling_server.errors import UsageError

log = logging.getLogger(__name__)
TOKEN, TOKEN_FILE = "STARLING_TOKEN", "STARLING_TOKEN_FILE"
"""Environment variables; there is no flag that takes a token, since arguments show in the list of processes."""
SHORTEST = 16
"""Characters of a token: fewer could be guessed."""
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+):(?P<token>[A-Za-z0-9._~+/=-]+)(?P<admin>:admin)?")
"""Tokens are written as in RFC 6750, 2.1."""
Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Client:
    """The holder of a token."""

    name: str
    admin: bool = False
    """Whether adapters may be loaded and unloaded with it."""


@dataclass(frozen=True, slots=True)
class Key:
    """A client and the SHA-256 of its token: digests are equally long, so that comparing them tells no length."""

    client: Client
    digest: bytes


class TokenStore:
    """All valid tokens. Not thread-safe: used by one event loop."""

    def __init__(self, single: str | None, file: Path | None) -> None:
        """`single` is the value of STARLING_TOKEN; raises UsageError for tokens that cannot be used."""
        self._single = [_key("STARLING_TOKEN", single, admin=False, where=TOKEN)] if single else []
        self._file, self._stamp = file, _stamp(file) if file else None
        self._keys = [*self._single, *(read(file) if file else [])]

    @property
    def empty(self) -> bool:
        """Whether no token is required."""
        return not self._single and self._file is None

    def who(self, token: str) -> Client | None:
        """Whose token that is; it is compared with every one, whichever it equals."""
        self._refresh()
        given, found = _digest(token), None
        for key in self._keys:
            if secrets.compare_digest(key.digest, given):
                found = key.client
        return found

    def _refresh(self) -> None:
        """Reload a changed file; a damaged or missing file changes nothing and is logged once."""
        if self._file is not None and _stamp(self._file) != self._stamp:
            self.read_again()

    def read_again(self) -> None:
        """Reload the file, or report why it cannot be used."""
        if self._file is None:
            return
        self._stamp = _stamp(self._file)
        try:
            self._keys = [*self._single, *read(self._file)]
        except UsageError as error:
            log.error("the tokens were not reloaded, and the former ones stay valid: %s", error)
        else:
            log.info("reloaded %s: %d tokens are valid now", self._file, len(self._keys))


def read(file: Path) -> list[Key]:
    """The keys in `file`; raises UsageError with the number of an invalid line."""
    keys = list[Key]()
    for number, line in enumerate(_lines(file), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise UsageError(f"{file}, line {number} is not a token: write name:token or name:token:admin.")
        keys.append(_key(match["name"], match["token"], bool(match["admin"]), f"{file}, line {number}"))
    if not keys:
        raise UsageError(f"{file} has no token: write one per line, as name:token.")
    return keys


def own_token(file: Path | None = None) -> str | None:
    """The token that a client of this user sends: STARLING_TOKEN, else the first one of `file` or STARLING_TOKEN_FILE.

    A client's file may also hold a bare token. Raises UsageError where the file cannot be read.
    """
    named = os.environ.get(TOKEN_FILE)
    file = file or (Path(named) if named else None)
    if os.environ.get(TOKEN) or file is None:
        return os.environ.get(TOKEN) or None
    lines = [line for line in _lines(file) if line and not line.startswith("#")]
    if not lines:
        raise UsageError(f"{file} has no token: write one per line.")
    match = _LINE.fullmatch(lines[0])
    return match["token"] if match else lines[0]


def _key(name: str, token: str, admin: bool, where: str) -> Key:
    if len(token) < SHORTEST:
        raise UsageError(
            f"{where}: a token has at least {SHORTEST} characters; make one with "
            "python3 -c 'import secrets; print(secrets.token_urlsafe())'."
        )
    return Key(Client(name, admin), _digest(token))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"The tokens in {file} cannot be read ({reason}): name another --token-file.") from error


def _stamp(file: Path) -> Stamp | None:
    """Fingerprint of the file's state; None if the file is missing."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
