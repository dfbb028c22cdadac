"""A request's JSON body, with limits that are checked before it is parsed.

One thread serves every connection, and no other can read JSON beside it, since the parser keeps the interpreter's lock:
what a body may cost is bounded by counting. Two megabytes of text are read in 5 ms, as many of `[],` or of
one-character keys took 150 ms, and what validation then said about a million wrong items took ten seconds.
"""

import json
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from starling_server.errors import InvalidRequest, UnsupportedMedia
from starling_server.http.responses import GONE

SMALL = 64 << 10
"""Bytes that parse within a few milliseconds, whatever the content."""
MOST_VALUES = 200_000
"""Commas outside of strings: the longest prompt of ids."""
MOST_MEMBERS = 10_000
MOST_CONTAINERS = 10_000
"""Lists and objects."""
MOST_STRINGS = 100_000
Answers = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRoute(APIRoute):
    """A route whose body, where it takes one, is read here."""

    def get_route_handler(self) -> Answers:
        """FastAPI's, with the body read before."""
        handler = super().get_route_handler()

        async def with_body(request: Request) -> Response:
            if self.body_field is None:
                return await handler(request)
            read = JsonRequest(request.scope, request.receive)
            try:
                await read.take()
            except ClientDisconnect:
                return Response(status_code=GONE)
            return await handler(read)

        return with_body


class JsonRequest(Request):
    """A request with an already parsed body."""

    parsed: Any = None

    async def take(self) -> None:
        """Read the body; raises InvalidRequest, UnsupportedMedia."""
        if body := await self.body():
            check_type(self.headers.get("content-type"))
            self.parsed = parse(body)

    async def json(self) -> Any:
        """The JSON that `take` parsed."""
        return self.parsed


def check_type(said: str | None) -> None:
    """Raise UnsupportedMedia unless the content type `said` is JSON's."""
    message = Message()
    message["content-type"] = said or ""
    maintype, subtype = message.get_content_maintype(), message.get_content_subtype()
    if not said or maintype != "application" or not (subtype == "json" or subtype.endswith("+json")):
        sent = f"The body's content type is {said[:100]!r}" if said else "The body has no content type"
        raise UnsupportedMedia(f"{sent}: send JSON with the header Content-Type: application/json.")


def parse(body: bytes) -> Any:
    """The JSON in `body`; raises InvalidRequest, also for NaN and Infinity, which are no JSON."""
    check_size(body)
    try:
        return json.loads(body.decode(), parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not valid JSON at character {error.pos} ({error.msg}): send JSON as in /openapi.json."
        ) from None
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not text in UTF-8: send JSON, see /openapi.json.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deep: send the fields in /openapi.json.") from None
    except ValueError:  # more digits than Python's limit for integers
        raise InvalidRequest(
            "The body has a number with too many digits: send a shorter one, see /openapi.json."
        ) from None


def check_size(body: bytes) -> None:
    """Raise InvalidRequest where a large body has more values than any request needs.

    What stands inside strings does not count: every other piece between quotes, once what is escaped is gone. Outside
    of strings a backslash is no JSON, and parsing ends there, whatever is counted behind it.
    """
    if len(body) <= SMALL:
        return
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * MOST_STRINGS:
        raise _too_much(MOST_STRINGS, "strings")
    outside = b"".join(plain.split(b'"')[::2])
    if outside.count(b"[") + outside.count(b"{") > MOST_CONTAINERS:
        raise _too_much(MOST_CONTAINERS, "lists and objects")
    if outside.count(b":") > MOST_MEMBERS:
        raise _too_much(MOST_MEMBERS, "members of objects")
    if outside.count(b",") > MOST_VALUES:
        raise _too_much(MOST_VALUES, "values")


def _too_much(most: int, what: str) -> InvalidRequest:
    return InvalidRequest(f"The body has more than {most} {what}: see /openapi.json for what is accepted.")


def _refuse(name: str) -> NoReturn:
    raise InvalidRequest(f"The body has {name}, which is not JSON: send a number or leave it out.")
