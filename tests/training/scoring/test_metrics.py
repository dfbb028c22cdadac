"""Figures as those count them who published them.

The expected values were computed with a transcription of the published code: `cal_edit_sim`, `extract_identifiers` and
`compute_id_match` of github.com/amazon-science/cceval at 27b4372 (fuzzywuzzy 0.18.0 itself, over Levenshtein 0.27.5;
`edit_similarity_score` of github.com/Leolty/repobench is the same call), and `estimate_pass_at_k` of
github.com/openai/human-eval-infilling.
"""

import pytest

from starling_training.scoring.metrics import (
    exact,
    first_line,
    identifier_match,
    identifiers,
    parses,
    pass_at_k,
    sign_test,
    similarity,
)

PUBLISHED = [
    ("return self.open(key)", "return self.open(key, ledger)", 84, 0.857143),
    ("for i in range(n):", "for index in range(len(values)):", 72, 0.285714),
    ("x = 1", "raise ValueError('x is {x}') from error", 14, 0.0),
    ('    name = "a b c" + suffix', "name = prefix + 'a b c'", 52, 0.5),
    ("", "pass", 0, 0.0),
    ("assert True is not None", "assert False is None", 74, 0.0),
    ("def get(self, k): return d[k]", "def get(self, key):\n    return self.d[key]", 82, 0.75),
    ("数 = größe + 1", "größe = 数 - 1", 62, 1.0),
]
PASSES = [
    (1, 0, 1, 0.0), (1, 1, 1, 1.0), (10, 3, 1, 0.3), (10, 3, 5, 0.916666667), (20, 1, 10, 0.5),
    (200, 7, 100, 0.992991117), (200, 0, 10, 0.0), (5, 4, 2, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("truth", "text", "ratio", "names"), PUBLISHED)
def test_texts_and_names_compare_as_in_crosscodeeval(truth: str, text: str, ratio: int, names: float) -> None:
    assert round(100 * similarity(truth, text)) == ratio
    assert identifier_match(truth, text, "Python") == pytest.approx(names, abs=1e-6)


@pytest.mark.parametrize(("samples", "passed", "k", "expected"), PASSES)
def test_pass_at_k_is_human_eval_s(samples: int, passed: int, k: int, expected: float) -> None:
    assert pass_at_k(samples, passed, k) == pytest.approx(expected, abs=1e-9)


def test_words_of_a_language_are_no_names() -> None:
    assert identifiers("public static int size(List<T> all) { return all.size; }", "Java") == {
        "size",
        "List",
        "T",
        "all",
    }
    assert identifiers("while True: x = 'in a text'", "Python") == {"True", "x"}
    assert identifiers("while x", None) == {"while", "x"}


def test_matches_are_exact_and_first_lines_forgive_blanks() -> None:
    assert (exact("a", "a"), exact("a", "a ")) == (1, 0)
    assert (first_line("\n  a\nb", "a\nc"), first_line("a", "b"), first_line("", "")) == (1, 0, 1)


def test_the_sign_test_counts_both_tails() -> None:
    assert sign_test(0, 0) == 1
    assert sign_test(5, 5) == 1
    assert sign_test(0, 5) == sign_test(5, 0) == pytest.approx(2 / 2**5)
    assert sign_test(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 2**10)


def test_documents_parse_or_not() -> None:
    assert parses("def f():\n    return 1\n", "Python") is True
    assert parses("def f(:\n    return 1\n", "Python") is False
    assert parses("anything", "Elm") is None
