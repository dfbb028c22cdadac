"""One thread or all: learnt from what forwards took, on a clock of the test's own."""

from itertools import pairwise

import pytest

from starling_server.backends.llamacpp.thread_tuner import LONGEST, SHORTEST, SLOWER, ThreadTuner

ALONE = 0.002


class Machine:
    """Forwards that take a while, and the time that passes."""

    def __init__(self) -> None:
        self.now, self.together = 0.0, ALONE / 2
        self.tuner = ThreadTuner(2, lambda: self.now)

    def forward(self, tokens: int = 1) -> int:
        """One forward; the threads that it got."""
        threads = self.tuner.threads(tokens)
        took = ALONE if threads == 1 else self.together
        self.now += took
        self.tuner.took(tokens, threads, took)
        return threads


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_all_threads_on_free_cores(machine: Machine) -> None:
    assert [machine.forward() for _ in range(5)] == [1, 2, 2, 2, 2]
    assert [machine.forward(4) for _ in range(3)] == [1, 2, 2], "what four tokens take alone is known by itself"


def test_one_thread_for_a_while_where_another_program_has_a_core(machine: Machine) -> None:
    machine.forward()
    machine.together = 30 * ALONE
    assert machine.forward() == 2
    rested = machine.now
    while machine.now < rested + SHORTEST:
        assert machine.forward() == 1
    assert machine.forward() == 2


def test_a_busy_machine_is_tried_ever_less_often(machine: Machine) -> None:
    machine.forward()
    machine.together = 30 * ALONE
    tried = list[float]()
    while machine.now < 10 * LONGEST:
        before = machine.now
        if machine.forward() == 2:
            tried.append(before)
    waits = [round(after - before) for before, after in pairwise(tried)]
    assert waits[:6] == [SHORTEST * 2**n for n in range(6)]
    assert set(waits[5:]) == {LONGEST}


def test_a_free_machine_is_noticed_after_a_rest(machine: Machine) -> None:
    machine.forward()
    machine.together = 30 * ALONE
    machine.forward()
    machine.together = ALONE / 2
    machine.now += SHORTEST
    assert [machine.forward() for _ in range(3)] == [2, 2, 2]


def test_a_little_slower_is_no_reason(machine: Machine) -> None:
    machine.forward()
    machine.together = SLOWER * ALONE * 0.9
    assert [machine.forward() for _ in range(3)] == [2, 2, 2]


def test_a_single_core_has_one_thread() -> None:
    tuner = ThreadTuner(1)
    tuner.took(1, 1, ALONE)
    assert tuner.threads(1) == 1
    tuner.took(1, 1, ALONE)
