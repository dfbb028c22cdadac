"""Progress by steps or by the clock, and the learning rate there."""

from itertools import pairwise

import pytest

from starling_training.fit.schedule import Pace


def test_steps_alone() -> None:
    run = Pace(100, 0)
    assert [run.progress(step) for step in (0, 50, 100, 200)] == [0, 0.5, 1, 1]
    assert not run.late


def test_the_clock_ends_what_steps_would_not() -> None:
    now = 100.0
    run = Pace(10**6, 60, lambda: now)
    run.start()
    now = 130.0
    assert run.progress(0) == 0, "nobody has looked at the clock"
    run.tick()
    assert run.progress(5) == 0.5
    assert not run.late
    now = 160.0
    run.tick()
    assert run.progress(5) == 1
    assert run.late
    assert run.rate(5, 0.03) == pytest.approx(0)


def test_a_rise_and_a_cosine() -> None:
    run = Pace(1000, 0)
    rates = [run.rate(step, 0.1) for step in range(1001)]
    assert rates[0] > 0
    assert max(rates) == pytest.approx(1)
    assert rates.index(max(rates)) == 100
    assert all(a >= b for a, b in pairwise(rates[100:]))
    assert rates[550] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(0)


def test_no_warm_up_starts_at_the_top() -> None:
    assert Pace(10, 0).rate(0, 0) == 1
