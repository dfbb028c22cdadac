"""Chosen pieces as a request carries them."""

from collections.abc import Iterable

from starling_server.context.choice import Piece
from starling_server.schema import LONGEST_PATH, LONGEST_PIECE, MOST_PIECES, ContextPiece


def carried(pieces: Iterable[Piece]) -> tuple[ContextPiece, ...]:
    """The pieces in their order, within the limits of a request. A path that is too long is left out of the prompt."""
    made = [_carried(piece) for piece in pieces]
    return tuple(made[:MOST_PIECES])


def _carried(piece: Piece) -> ContextPiece:
    path = piece.path if len(piece.path) <= LONGEST_PATH else ""
    return ContextPiece(path=path, text=piece.text[:LONGEST_PIECE], why=piece.why)
