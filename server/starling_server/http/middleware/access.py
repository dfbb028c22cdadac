"""Access control: checks of the `Host` header, the web origin, the token and the request rate."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from starling_server.auth import Client, TokenStore
from starling_server.errors import Forbidden, RequestError, Unauthorized, WrongHost
from starling_server.http.middleware.limits import Allowances
from starling_server.http.middleware.problems import extended, problem, shortened

OPEN = frozenset({"/", "/health", "/ready", "/openapi.json", "/favicon.ico"})
"""Paths that need no token: health checks, and content that is the same on every installation."""
PROBES = frozenset({"/health", "/ready"})
"""Health checks have a rate limit of their own, so that other requests from an address cannot block them."""
OPEN_UNDER = "/page/"
"""Prefix of the page's files, which need no token."""
ADMIN = "/v1/adapters/"
"""Prefix of paths whose `CHANGES` need an admin token."""
CHANGES = frozenset({"POST", "DELETE"})
"""Methods that change state; other methods than these and GET get 405."""
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+(?:%[a-z0-9._~-]+)?)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)
"""A valid `Host` header in lower case (RFC 9110, 7.2)."""


@dataclass(frozen=True, slots=True)
class Access:
    """Access rules."""

    tokens: TokenStore
    hosts: Collection[str] = field(default_factory=tuple)
    """Host names of this server, besides localhost and every IP address."""
    origins: Collection[str] = field(default_factory=tuple)
    """Allowed foreign origins, as `https://host:port`."""

    def check_place(self, headers: Headers) -> None:
        """Raise WrongHost or Forbidden for requests from foreign web pages.

        After DNS rebinding, `Host` still has the name of the foreign page. IP addresses are accepted, because they
        cannot be rebound.
        """
        host = headers.get("host", "").lower()
        if not self._known(host):
            raise WrongHost(
                f"The Host header {shortened(host)!r} is not a name of this server: send its IP "
                "address or localhost, or "
                "start the server with --allow-host NAME."
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and origin.lower().partition("://")[2] != host:
            raise Forbidden(
                f"Requests from pages of {shortened(origin)!r} are not allowed: start the server with --allow-origin "
                "ORIGIN to allow them."
            )

    def _known(self, host: str) -> bool:
        """Whether `host` is exactly an IP address or a name of this server, with an optional port."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        return _is_address(found["six"] or found["name"]) or found["name"] in {"localhost", *self.hosts}

    def identify(self, headers: Headers) -> Client | None:
        """Client of the request's token; None for a missing or unknown token."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return self.tokens.who(token.strip()) if scheme.lower() == "bearer" else None

    def check_client(self, client: Client | None, method: str, path: str) -> None:
        """Raise Unauthorized or Forbidden if `client` lacks permission for the request."""
        changes = path.startswith(ADMIN) and method in CHANGES
        if changes and self.tokens.empty:
            raise Forbidden(
                "Loading and unloading adapters requires an admin token, and this server has none: start it with "
                "--token-file, and a line name:token:admin in that file."
            )
        is_open = path in OPEN or path.startswith(OPEN_UNDER)
        if client is None and not self.tokens.empty and not is_open:
            raise Unauthorized(
                "The request has no token, or one that this server does not list: send one of its tokens in the header "
                "Authorization: Bearer TOKEN."
            )
        if changes and client is not None and not client.admin:
            raise Forbidden(
                "The token is not an admin token, which loading and unloading adapters requires: "
                "send one that --token-file "
                "lists as name:token:admin."
            )


class Guard:
    """Middleware that checks access and rate, and sets `request.state.client`; refusals get a problem document."""

    def __init__(self, app: ASGIApp, access: Access, allowances: Allowances) -> None:
        self._app, self._access, self._allowances = app, access, allowances
        self._probed = Allowances(allowances.rate, 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the request and pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._access.check_place(headers)
            client = self._access.identify(headers)
            name = client.name if client else _address(scope)
            probe = scope["path"] in PROBES
            place = await (self._probed.take(_address(scope)) if probe else self._allowances.take(name))
            self._access.check_client(client, scope["method"], scope["path"])
            known = client is not None or self._access.tokens.empty
            scope.setdefault("state", {}).update(client=name, known=known, place=place)
            with place:
                await self._app(scope, receive, send)
        except RequestError as error:  # those of routes are answered inside
            await extended(problem(error), scope["path"])(scope, receive, send)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
