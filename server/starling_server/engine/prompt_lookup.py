"""Tokens proposed without a second model: what followed the newest earlier occurrence of the last few tokens.

Code repeats itself: names, calls and whole lines that the prompt holds come again. A forward over one sampled token and
three drafted ones costs little more than one over the sampled token alone, and what it agrees with is had for nothing.
The idea is prompt lookup decoding (Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding).
"""

from collections.abc import Iterable, Sequence

from starling_server.engine.protocols import Rows, Sampler

GRAMS = (3, 2)
"""Tokens that must agree, the longer first."""
BORDER = -1
"""Between texts; no id of a vocabulary, so nothing is drafted across."""


class Drafter:
    """Proposes what may follow; `texts` are ids to look in, the most telling last."""

    def __init__(self, texts: Iterable[Sequence[int]]) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for text in texts:
            self.extend([BORDER, *text])

    def extend(self, ids: Iterable[int]) -> None:
        """Go on with the last text by `ids`."""
        for token in ids:
            at = len(self._ids)
            for size in GRAMS:
                if at >= size:
                    self._after[tuple(self._ids[at - size :])] = at
            self._ids.append(token)

    def propose(self, most: int) -> list[int]:
        """At most `most` ids that may come next; none where nothing is known."""
        for size in GRAMS:
            at = self._after.get(tuple(self._ids[-size:]))
            if at is not None:
                found = self._ids[at : at + most]
                return found[: found.index(BORDER)] if BORDER in found else found
        return []


def agreed(rows: Rows, draft: Sequence[int], sample: Sampler) -> list[int]:
    """What decoding one by one would have given: the drafted ids that it agrees with, and one more.

    `rows` are the logits before each id of `draft` and after its last, shape (len(draft) + 1, vocab). Exact with any
    sampler, since each row is asked once and in order, and only where plain decoding would have asked it.
    """
    tokens = list[int]()
    for row, guess in zip(rows, [*draft, BORDER], strict=True):
        tokens.append(sample(row))
        if tokens[-1] != guess:
            break
    return tokens
