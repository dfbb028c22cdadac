"""Where a command may listen: on this machine only, since this version has no passwords."""

import socket
from ipaddress import ip_address

from starling_server.errors import UsageError


def check_loopback(host: str) -> None:
    """Raise UsageError unless only this machine can reach `host`."""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise UsageError(
            f"{host} is not a loopback address: this version has no passwords, so only this machine may reach it; "
            "put a proxy with authentication in front to share it."
        )


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; raises UsageError for an address that is taken, or that others could reach."""
    check_loopback(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"Cannot listen on {host}:{port} ({error}): choose another --port, or 0 for a free one."
        ) from error
    return listener
