"""Checks of a request's head: its size, the framing of its body, and its target.

h11 refuses invalid HTTP, duplicate `Host` headers and conflicting lengths; here is what it accepts nevertheless.
"""

import re
from collections import Counter
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from starling_server.errors import BadRequest, HeadTooLarge, RequestError, UnsupportedMedia
from starling_server.http.middleware.connection_limits import HEAD_BYTES
from starling_server.http.middleware.problems import extended, problem, shortened

_ABSOLUTE = re.compile(rb"https?://(?P<authority>[^/?#]*)(?P<path>.*)", re.IGNORECASE | re.DOTALL)
"""A target in absolute form, as clients send it to proxies (RFC 9112, 3.2.2)."""


class Framing:
    """Middleware that passes valid requests on, with the target in origin form and HEAD as GET.

    Others get a problem document, and their connection is closed: if the length of a body is ambiguous, so is the start
    of the next request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the request and pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            check(scope)
            inner = {**scope, **origin_form(scope)}
        except RequestError as error:
            answer = extended(problem(error), scope["path"])
            answer.headers["connection"] = "close"
            await answer(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # the body of the response is dropped when it is sent
            inner["method"] = "GET"
        scope.setdefault("state", inner.setdefault("state", {}))
        try:
            await self._app(inner, receive, send)
        finally:
            scope["route"] = inner.get("route")


def check(scope: Scope) -> None:
    """Raise BadRequest, HeadTooLarge or UnsupportedMedia."""
    raw: list[tuple[bytes, bytes]] = scope["headers"]
    size = sum(len(name) + len(value) + 4 for name, value in raw) + len(scope.get("raw_path") or b"")
    if size + len(scope.get("query_string", b"")) > HEAD_BYTES:
        raise HeadTooLarge(f"The request's head has more than {HEAD_BYTES >> 10} KiB: send fewer or shorter headers.")
    names = Counter(name.lower() for name, _ in raw)
    if names[b"host"] > 1:
        raise BadRequest("The request has several Host headers: send one.")
    if names[b"transfer-encoding"] and names[b"content-length"]:
        raise BadRequest("The request has Content-Length and Transfer-Encoding: send one of them.")
    if scope["http_version"] not in ("1.0", "1.1"):
        raise BadRequest(f"The request has HTTP version {scope['http_version']}: send 1.0 or 1.1.")
    if names[b"transfer-encoding"] and scope["http_version"] == "1.0":
        raise BadRequest(
            "The request is HTTP/1.0 with a Transfer-Encoding, which only HTTP/1.1 has: send Content-Length."
        )
    coding = Headers(scope=scope).get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedMedia(f"The body has the Content-Encoding {shortened(coding)!r}: send it without compression.")


def origin_form(scope: Scope) -> Scope:
    """Changes to `scope` that make its target a path; raises BadRequest for other targets.

    The authority of an absolute target replaces the `Host` header (RFC 9112, 3.2.2).
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if raw.startswith(b"/"):
        return {}
    found = _ABSOLUTE.fullmatch(raw)
    if found is None:
        raise BadRequest("The request's target is not a path: send one that begins with /; /openapi.json lists them.")
    path: bytes = found["path"] or b"/"
    headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"host"]
    return {
        "headers": [(b"host", found["authority"]), *headers],
        "raw_path": path,
        "path": unquote(path.decode("ascii")),
    }
