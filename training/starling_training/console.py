"""Texts of others on a console."""

from rich.markup import escape

from starling_server.printable import printable


def plain(text: str) -> str:
    """`text` for a console: no markup, and nothing that a terminal obeys."""
    return escape(printable(text))
