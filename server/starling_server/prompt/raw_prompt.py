"""Raw FIM prompts, written by a client itself, cut to what a model reads.

Text goes where it is farthest from the cursor: the end of what follows it, and the beginning of what precedes it. The
sentinels stay, so the model still fills in a middle.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from starling_server.prompt.fim import Fim
from starling_server.prompt.window import SUFFIX_SHARE, Encode, fit_prefix, fit_suffix, stride

Decode = Callable[[Sequence[int]], str]


def shorten(ids: list[int], tokens: int, fim: Fim, encode: Encode, decode: Decode) -> list[int] | None:
    """`ids` cut to at most `tokens` ids; None where they do not hold each of the three sentinels exactly once.

    `encode` reads special tokens. Between sentinels the text is encoded again where it is cut. The token that begins
    every prompt stays too, where the base has one and `ids` begins with it.
    """
    begin = [fim.begin] if fim.begin is not None and ids[:1] == [fim.begin] else []
    if begin:
        rest = shorten(ids[1:], tokens - 1, replace(fim, begin=None), encode, decode)
        return None if rest is None else [*begin, *rest]
    marks = [fim.prefix, fim.suffix, fim.middle]
    room = tokens - len(marks)
    places = [at for at, token in enumerate(ids) if token in marks]
    if sorted(ids[at] for at in places) != sorted(marks) or room < 0:
        return None
    borders = [*places, len(ids)]
    parts = {ids[at]: ids[at + 1 : end] for at, end in zip(places, borders[1:], strict=True)}
    most = int(room * SUFFIX_SHARE)
    after = parts[fim.suffix]
    parts[fim.suffix] = after if len(after) <= most else fit_suffix(decode(after), most, stride(most), encode)
    left = room - len(parts[fim.suffix])
    edges = stride(room - most)

    def fitted(before: list[int]) -> list[int]:
        nonlocal left
        kept = before if len(before) <= left else fit_prefix(decode(before), left, edges, encode)
        left -= len(kept)
        return kept

    for mark in (fim.middle, fim.prefix):  # what follows the middle's sentinel is next to the cursor
        parts[mark] = fitted(parts[mark])
    head = fitted(ids[: places[0]])
    return [*head, *(token for at in places for token in (ids[at], *parts[ids[at]]))]
