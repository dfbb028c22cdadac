"""Listen addresses: loopback, and other addresses only if tokens are required."""

import socket
from ipaddress import ip_address

from starling_server.errors import UsageError


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def check_loopback(host: str) -> None:
    """Raise UsageError unless only this machine can reach `host`."""
    if not is_loopback(host):
        raise UsageError(f"{host} is not a loopback address: use 127.0.0.1, because --tcp has no access control.")


def listen(host: str, port: int, protected: bool = False) -> socket.socket:
    """A bound socket; raises UsageError for an address that is taken, or that others could reach unasked.

    `protected` says that every request has to bring a token.
    """
    if not protected and not is_loopback(host):
        raise UsageError(
            f"{host} is not a loopback address, so other machines could use the server without a "
            "token: set STARLING_TOKEN, "
            "give --token-file, or listen on 127.0.0.1."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm only for sockets that name TCP. With it, head and body of a response go out in
    # two writes, and the second one waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"Cannot listen on {host}:{port} ({error}): choose another --port, or 0 for a free one."
        ) from error
    return listener


def url(listener: socket.socket) -> str:
    """The server's URL for clients."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
