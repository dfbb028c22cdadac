"""The outermost middleware: request ids, access log, request metrics, response headers, and unhandled exceptions."""

import logging
import re
from collections.abc import Mapping
from time import perf_counter
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starling_server import logs
from starling_server.http.middleware.metrics import Metrics
from starling_server.http.middleware.problems import internal

log = logging.getLogger(__name__)
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Valid request ids of clients."""
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})
"""Methods with a metric label of their own; clients may send any others."""
HEADERS: Mapping[str, str] = {
    # CodeMirror writes its style sheets into the page; scripts come from files only.
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of every response."""


class Trace:
    """Middleware that runs a request under an id; unhandled exceptions are logged and become a problem document."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        identity = asked if _SANE.fullmatch(asked) else uuid4().hex
        token, answer = logs.request_id.set(identity), _Answer(send, identity)
        started = perf_counter()
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            log.error("a request failed with an internal error: %s", logs.what(error), extra=logs.where(error))
            if not answer.status:
                await internal()(scope, receive, answer.send)
        finally:
            self._tell(scope, answer.status, perf_counter() - started)
            logs.request_id.reset(token)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route, client = _route(scope), scope.get("state", {}).get("client", "-")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(route, method, str(status)).inc()
        facts = {"route": route, "status": status, "client": client, "ms": round(seconds * 1e3, 1)}
        log.debug("%s %s %d for %s in %.0f ms", method, route, status, client, facts["ms"], extra=facts)


class _Answer:
    """Sends a response with the common headers and records its status."""

    def __init__(self, send: Send, identity: str) -> None:
        self._send, self._identity = send, identity
        self.status = 0

    async def send(self, message: Message) -> None:
        """Forward one message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._identity
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def _route(scope: Scope) -> str:
    """The route's path template, or `none`: the client's own path must not become a label or be logged."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "none"))
