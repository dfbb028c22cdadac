"""Whether a piece of another file gives away what an evaluation has taken out."""

from starling_server.context.choice import TELLING, Piece

COPY = 0.85
"""Share of a line's words, in order, from which another line counts as its copy."""


def leaks(piece: Piece, hole: str) -> bool:
    """Whether `piece` holds a line of `hole`, or a near copy of one.

    Lines with fewer than `TELLING` visible characters, such as `return None`'s neighbours `else:`, are in every file.
    """
    hidden = [line.split() for each in hole.split("\n") if len(line := each.strip()) >= TELLING]
    shown = [line.split() for line in piece.text.split("\n") if len(line.strip()) >= TELLING]
    return any(_is_copy(one, other) for one in hidden for other in shown)


def without(pieces: tuple[Piece, ...], hole: str) -> tuple[Piece, ...]:
    """The pieces that do not give `hole` away."""
    return tuple(piece for piece in pieces if not leaks(piece, hole))


def _is_copy(one: list[str], other: list[str]) -> bool:
    """Whether two lines are equal apart from blanks, or nearly so."""
    from rapidfuzz.distance import Indel

    return Indel.normalized_similarity("".join(one), "".join(other)) >= COPY
