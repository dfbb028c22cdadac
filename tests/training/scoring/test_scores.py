"""Figures and their intervals; the truth as the service would insert it."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from starling_training.examples.spans import Hole
from starling_training.report.comparison import verdict
from starling_training.scoring.scores import compare, scores, speed
from starling_training.scoring.trials import Answer, Trial, truth

HOLE = Hole("x = ", "1", "\n", "line")


def trial(base: Answer, adapter: Answer, expected: str = "abcd") -> Trial:
    return Trial("a.py", HOLE, expected, base, adapter)


def test_figures_are_ratios_of_sums() -> None:
    trials = [
        trial(Answer("abcd", True, 4.0, 2), Answer("abcd", True, 2.0, 2)),
        trial(Answer("", False, 8.0, 4), Answer("abcdabcd", True, 4.0, 4)),
    ]
    figures = compare(trials)
    assert figures["middle loss"].base == pytest.approx(2.0)
    assert figures["middle loss"].adapter == pytest.approx(1.0)
    assert figures["middle loss"].difference == pytest.approx(-1.0)
    assert figures["exact match"].base == figures["exact match"].adapter == 0.5
    assert figures["edit similarity"].adapter == pytest.approx((1 + 2 / 3) / 2)
    assert figures["length ratio"].base == pytest.approx(0.5)
    assert figures["length ratio"].adapter == pytest.approx(1.5)
    assert figures["stop rate"].difference == pytest.approx(0.5)


def test_a_sure_difference_has_a_narrow_interval() -> None:
    trials = [trial(Answer("", True, 4.0 + n % 3, 2), Answer("", True, 3.0 + n % 3, 2)) for n in range(50)]
    loss = compare(trials)["middle loss"]
    assert loss.low == pytest.approx(-0.5)
    assert loss.high == pytest.approx(-0.5)


def test_no_difference_has_an_interval_around_nothing() -> None:
    trials = [trial(Answer("", True, 4.0 + n % 2, 2), Answer("", True, 4.0 + (n + 1) % 2, 2)) for n in range(50)]
    loss = compare(trials)["middle loss"]
    assert loss.low < 0 < loss.high


def test_holes_of_one_file_are_no_independent_observations() -> None:
    def gain(number: int, path: str) -> Trial:
        better = Answer("", True, 2.0 + (number % 2) * 3, 2)
        return replace(trial(Answer("", True, 4.0, 2), better), path=path)

    alone = compare([gain(number, f"{number}.py") for number in range(200)])["middle loss"]
    clustered = compare([gain(number // 20, f"{number // 20}.py") for number in range(200)])["middle loss"]
    assert clustered.difference == alone.difference
    assert clustered.high - clustered.low > 3 * (alone.high - alone.low), "ten files, not two hundred"
    assert alone.sure
    assert not clustered.sure


def test_each_model_has_an_interval_of_its_own() -> None:
    trials = [trial(Answer("", True, 4.0 + n % 3, 2), Answer("", True, 2.0, 2)) for n in range(50)]
    loss = compare(trials)["middle loss"]
    assert loss.base_range[0] < loss.base < loss.base_range[1]
    assert loss.adapter_range == (pytest.approx(1.0), pytest.approx(1.0))


def test_figures_by_kind_and_by_language_are_those_of_their_holes() -> None:
    line = trial(Answer("", True, 4.0, 2), Answer("abcd", True, 2.0, 2))
    block = replace(line, path="b.ts", hole=replace(HOLE, kind="block"), adapter=Answer("", True, 3.0, 2))
    found = scores([block, line, line])
    assert {name: group.holes for name, group in found.by_kind.items()} == {"line": 2, "block": 1}
    assert list(found.by_language) == ["Python", "TypeScript"]
    assert found.by_kind["block"].figures == compare([block])
    assert found.by_language["Python"].figures == compare([line, line])
    assert found.figures == compare([block, line, line])
    assert scores([]).figures == {}


def test_silence_that_is_right_does_not_divide_by_nothing() -> None:
    figures = compare([trial(Answer("", True, 1.0, 1), Answer("", True, 1.0, 1), expected="")])
    assert figures["length ratio"].base == 0
    assert figures["exact match"].base == 1


@pytest.mark.parametrize(
    ("hole", "expected"),
    [
        (Hole("total = ", "price * count", "\nnext = 1\n", "line"), "price * count"),
        (Hole("if x:\n    ", "return 1", "\n", "line"), "return 1"),
        (Hole("print(", "a, b", ")\n", "line"), "a, b"),
        (Hole("a = f(1)", "", "\nb = 2\n", "empty"), ""),
    ],
)
def test_the_truth_takes_the_service_s_way(hole: Hole, expected: str) -> None:
    assert truth(hole) == expected


def shuffled(trials: Sequence[Trial], seed: int) -> list[Trial]:
    """Base and adapter change places at half of the holes, by chance: then there is nothing to be found."""
    toss = Random(seed)
    return [replace(t, base=t.adapter, adapter=t.base) if toss.random() < 0.5 else t for t in trials]


def test_where_labels_are_shuffled_no_gain_is_found() -> None:
    draw = Random(7)
    trials = [
        trial(
            Answer("abcd" if draw.random() < 0.2 else "x", True, draw.gauss(8, 3), 4),
            Answer("abcd" if draw.random() < 0.6 else "y", True, draw.gauss(6, 3), 4),
        )
        for _ in range(120)
    ]
    for name in ("middle loss", "exact match"):
        assert compare(trials)[name].sure, "a difference that is there is found"
        found = [compare(shuffled(trials, seed), seed)[name] for seed in range(20)]
        assert sum(not figure.sure for figure in found) >= 18
        assert sum(figure.chance >= 0.05 for figure in found) >= 18


def test_what_engines_do_not_know_is_left_out() -> None:
    plain = trial(Answer("abcd", True), Answer("x", True))
    assert not {"middle loss", "valid syntax", "pass@1"} & set(compare([plain]))
    assert speed([plain]) == {}
    known = replace(plain, base=Answer("abcd", True, 4.0, 2), adapter=Answer("x", True, 2.0, 2))
    loss = compare([plain, known])["middle loss"]
    assert (loss.base, loss.adapter) == (2.0, 1.0)


def test_passes_validity_and_speed_are_compared_where_they_are_known() -> None:
    first = Answer("abcd", True, ms=20, prompt_tokens=100, cached_tokens=50, valid=True, passed=(True, False))
    second = Answer("abcd", True, ms=10, prompt_tokens=100, cached_tokens=80, valid=False, passed=(True, True))
    figures = compare([trial(first, second)])
    assert (figures["pass@1"].base, figures["pass@1"].adapter) == (0.5, 1.0)
    assert "pass@10" not in figures
    assert figures["valid syntax"].difference == -1
    assert speed([trial(first, second)])["cached share"].difference == pytest.approx(0.3)
    assert speed([trial(first, second)])["latency"].base == 20


def test_nothing_is_claimed_that_may_be_chance() -> None:
    better = [trial(Answer("", True, 4.0 + n % 3, 2), Answer("", True, 3.0 + n % 3, 2)) for n in range(50)]
    worse = [replace(each, base=each.adapter, adapter=each.base) for each in better]
    either = [trial(Answer("", True, 4.0 + n % 2, 2), Answer("", True, 4.0 + (n + 1) % 2, 2)) for n in range(50)]
    words = {name: verdict(compare(trials), ("base", "mine")) for name, trials in
             {"better": better, "worse": worse, "unsure": either}.items()}  # fmt: skip
    assert {name: word for name, (word, _) in words.items()} == {name: name for name in words}
    assert "is not sure" in words["unsure"][1]
    assert "mine is better than base here: middle loss" in words["better"][1]
    word, said = verdict(compare(better), ("base", "mine"), elsewhere=True)
    assert word == "better"
    assert "was not trained on this code" in said
    assert "was not trained on" not in verdict(compare(worse), ("base", "mine"), elsewhere=True)[1]
