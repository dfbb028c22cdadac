"""Which documents say what another one says already, nearly word for word.

Near means a Jaccard similarity of at least `THRESHOLD` between the sets of word 5-grams (Lee et al. 2022,
arXiv 2107.06499), found by MinHash with banding and checked on the whole signature.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from rensa import RMinHash, RMinHashLSH  # pyright: ignore[reportAttributeAccessIssue]

THRESHOLD = 0.7
GRAM, PERMUTATIONS, BANDS, SEED = 5, 128, 32, 42
"""Words in a shingle; hashes in a signature, and bands of 4 of them: two documents at the threshold meet in one with
a probability of 0.9998 (1 - (1 - 0.7^4)^32)."""
_WORD = re.compile(r"\w+|[^\w\s]")


def near_duplicates(texts: Sequence[str], kept: Sequence[str] = ()) -> set[int]:
    """Indices of `texts` that come near one of `kept` or near an earlier text that is no duplicate itself."""
    index = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=BANDS)
    signatures = list[Any]()
    duplicates = set[int]()
    for number, signature in enumerate(_signatures([*kept, *texts])):
        signatures.append(signature)
        near = any(signature.jaccard(signatures[other]) >= THRESHOLD for other in index.query(signature))
        if near and number >= len(kept):
            duplicates.add(number - len(kept))
        else:
            index.insert(number, signature)
    return duplicates


def _signatures(texts: Sequence[str]) -> Iterator[Any]:
    for text in texts:
        words = _WORD.findall(text)
        signature = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
        signature.update([" ".join(words[at : at + GRAM]) for at in range(max(1, len(words) - GRAM + 1))])
        yield signature
