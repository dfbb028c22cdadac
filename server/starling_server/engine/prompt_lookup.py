"""Tokens proposed without a second model: what followed the newest earlier occurrence of the last few tokens.

Code repeats itself: names, calls and whole lines that the prompt holds come again. A forward over one sampled token and
three drafted ones costs little more than one over the sampled token alone, and every accepted draft saves a forward.
The idea is prompt lookup decoding (Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding).
"""

from collections.abc import Iterable, Sequence

from starling_server.engine.protocols import Rows, Sampler

GRAMS = (3, 2)
"""N-gram lengths to match, longest first."""
BORDER = -1
"""Separator between texts; not a vocabulary id, so no draft crosses it."""


class Drafter:
    """Proposes drafts; `texts` are the token ids to search, the most relevant last."""

    def __init__(self, texts: Iterable[Sequence[int]]) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for text in texts:
            self.extend([BORDER, *text])

    def extend(self, ids: Iterable[int]) -> None:
        """Append `ids` to the last text."""
        for token in ids:
            at = len(self._ids)
            for size in GRAMS:
                if at >= size:
                    self._after[tuple(self._ids[at - size :])] = at
            self._ids.append(token)

    def propose(self, most: int) -> list[int]:
        """Draft of at most `most` next ids; empty without a match."""
        for size in GRAMS:
            at = self._after.get(tuple(self._ids[-size:]))
            if at is not None:
                found = self._ids[at : at + most]
                return found[: found.index(BORDER)] if BORDER in found else found
        return []


def agreed(rows: Rows, draft: Sequence[int], sample: Sampler) -> list[int]:
    """Accepted drafted ids plus one sampled id: the same tokens as decoding one by one.

    `rows` are the logits before each id of `draft` and after its last, shape (len(draft) + 1, vocab). Exact with any
    sampler, since each row is asked once and in order, and only where plain decoding would have asked it.
    """
    tokens = list[int]()
    for row, guess in zip(rows, [*draft, BORDER], strict=True):
        tokens.append(sample(row))
        if tokens[-1] != guess:
            break
    return tokens
