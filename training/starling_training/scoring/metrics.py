"""Similarity of a suggestion to the original text; each metric is computed as in its publication."""

import keyword
import re
from collections.abc import Callable
from math import comb

from rapidfuzz.distance import Indel

from starling_server.postprocess import syntax

Metric = Callable[[str, str], float]
STRING = re.compile(r'"([^"\\]*(\\.[^"\\]*)*)"|\'([^\'\\]*(\\.[^\'\\]*)*)\'')
WORD = re.compile(r"\w+")
IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")


def exact(truth: str, text: str) -> float:
    """1 for equal texts, else 0."""
    return float(truth == text)


def first_line(truth: str, text: str) -> float:
    """1 if the first non-empty lines are equal apart from surrounding whitespace, else 0."""
    return float(_first(truth) == _first(text))


def similarity(truth: str, text: str) -> float:
    """1 for equal texts, 0 for texts without common characters: 2 M / T, where M is the length of the longest common
    subsequence and T the total length of both.

    Equals `fuzz.ratio` / 100 before rounding, as in CodeXGLUE, CrossCodeEval (Ding et al. 2023, arXiv 2310.11248,
    `cal_edit_sim`) and RepoBench (Liu et al. 2023, arXiv 2306.03091), without surrounding whitespace.
    """
    return Indel.normalized_similarity(truth.strip(), text.strip())


def identifiers(text: str, language: str | None) -> set[str]:
    """Names in a piece of code: words outside quotes that are not keywords (CrossCodeEval's `extract_identifiers`)."""
    reserved = keywords(language)
    return {word for word in WORD.findall(STRING.sub("", text)) if IDENTIFIER.match(word) and word not in reserved}


def keywords(language: str | None) -> frozenset[str]:
    """Keywords of the language: Python's list without True and False, other languages' from their grammars."""
    if language == "Python":
        return frozenset(keyword.kwlist) - {"True", "False"}
    return syntax.keywords(language)


def identifier_match(truth: str, text: str, language: str | None) -> float:
    """F1 over the names in both texts (CrossCodeEval's `compute_id_match`), 0 if neither has any."""
    wanted, found = identifiers(truth, language), identifiers(text, language)
    return 2 * len(wanted & found) / max(1, len(wanted) + len(found))


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Probability that at least one of `k` samples passes, given that `passed` of `samples` passed.

    Unbiased estimator 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, equation 1).
    """
    assert 1 <= k <= samples
    return 1 - comb(samples - passed, k) / comb(samples, k)


def sign_test(more: int, less: int) -> float:
    """Two-sided p of the sign test: the probability of counts at least this uneven if both outcomes are equally likely
    (Dixon and Mood 1946).
    """
    count = more + less
    tail = sum(comb(count, number) for number in range(min(more, less) + 1))
    return min(1.0, 2 * tail / 2**count)


def parses(text: str, language: str | None) -> bool | None:
    """Whether a document has no syntax errors; None for a language without an installed grammar."""
    parsed = syntax.parse(text, language)
    return None if parsed is None else parsed.whole


def _first(text: str) -> str:
    return next((line.strip() for line in text.split("\n") if line.strip()), "")
