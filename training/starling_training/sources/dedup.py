"""Detection of near-duplicate documents.

Near-duplicates have a Jaccard similarity of at least `THRESHOLD` between their sets of word 5-grams (Lee et al. 2022,
arXiv 2107.06499), estimated by MinHash and found by banding.
"""

import re
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue]

THRESHOLD = 0.7
GRAM, PERMUTATIONS, BANDS, SEED = 5, 128, 32, 42
"""Words in a shingle, hashes in a signature, bands of 4 hashes, random seed. Two documents at the threshold share a
band with a probability of 0.9998 (1 - (1 - 0.7^4)^32).
"""
Signature = NDArray[np.uint32]
_WORD = re.compile(r"\w+|[^\w\s]")


def signature(text: str) -> Signature:
    """MinHash of a text's shingles, shape (PERMUTATIONS,)."""
    words = _WORD.findall(text)
    hashes = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
    hashes.update([" ".join(words[at : at + GRAM]) for at in range(max(1, len(words) - GRAM + 1))])
    return np.array(hashes.digest(), np.uint32)


def near_duplicates(signatures: NDArray[np.uint32], kept: int = 0) -> set[int]:
    """Rows of `signatures`, shape (documents, PERMUTATIONS), that are near duplicates of an earlier, kept row.

    The first `kept` rows are always kept.
    """
    buckets = defaultdict[tuple[int, bytes], list[int]](list)
    duplicates = set[int]()
    for number, row in enumerate(signatures):
        keys = [(band, part.tobytes()) for band, part in enumerate(row.reshape(BANDS, -1))]
        met = sorted({other for key in keys if key in buckets for other in buckets[key]})
        if number >= kept and met and (signatures[met] == row).mean(1).max() >= THRESHOLD:
            duplicates.add(number)
            continue
        for key in keys:
            buckets[key].append(number)
    return duplicates
