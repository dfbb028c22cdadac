"""Encoding a document again after a key, without encoding all of it again.

Byte-level BPE as StarCoder's splits text before it merges anything, and never lets a piece reach from a visible
character into the newline behind it. So ids of a text are the ids of its lines, and lines are remembered.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

KEPT_LINES, LONGEST = 16_384, 400
"""Lines that are remembered, and the characters of the longest: 10 MB at most, mostly 2."""
_LINE_ENDS = re.compile(r"(?<=\S)(?=\n)")
_PROBE = (
    "def f(a):\n    x = 'caf\u00e9 \U0001f600'  \n\n\tif x:\r\n\t\treturn 10_000\n\n\n  # end <fim_middle>\n}\n \nlast"
)
Encode = Callable[[str], Sequence[int]]


def by_lines(encode: Encode) -> Callable[[str], list[int]]:
    """`encode` with a memory for lines; or without one, where its ids of a text are not those of its lines."""
    line = lru_cache(KEPT_LINES)(encode)

    def remembered(text: str) -> list[int]:
        ids = list[int]()
        for piece in _LINE_ENDS.split(text):
            ids += line(piece) if len(piece) <= LONGEST else encode(piece)
        return ids

    def whole(text: str) -> list[int]:
        return list(encode(text))

    return remembered if remembered(_PROBE) == whole(_PROBE) else whole
