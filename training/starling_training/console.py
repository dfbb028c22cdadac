"""Untrusted text on a console."""

from rich.markup import escape

from starling_server.printable import printable


def plain(text: str) -> str:
    """`text` for a console, with markup and control characters escaped."""
    return escape(printable(text))
