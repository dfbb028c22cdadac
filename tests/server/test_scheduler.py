"""Who goes first, who is superseded, and that the worker outlives everything."""

from collections.abc import Generator
from concurrent.futures import Future
from threading import Event

import pytest

from starling_server.recall import Recall, Remembered
from starling_server.scheduler import Interrupted, Scheduler, Ticket

WAIT = 20


@pytest.fixture
def scheduler() -> Generator[Scheduler]:
    scheduler = Scheduler()
    yield scheduler
    scheduler.close()


class Gate:
    """Work that holds the worker until it is let go or interrupted."""

    def __init__(self) -> None:
        self.began, self.go = Event(), Event()

    def __call__(self, ticket: Ticket) -> str:
        self.began.set()
        while not self.go.wait(0.001):
            if reason := ticket.interrupted():
                return reason
        return "done"


def test_newest_first_across_sessions(scheduler: Scheduler) -> None:
    gate, order = Gate(), list[str]()
    scheduler.submit(gate, "gate", WAIT)
    assert gate.began.wait(WAIT)
    futures = [scheduler.submit(lambda _, name=name: order.append(name), name, WAIT)[1] for name in "abc"]
    gate.go.set()
    for future in futures:
        future.result(WAIT)
    assert order == ["c", "b", "a"]


def test_the_oldest_goes_first_once_it_has_waited_long(scheduler: Scheduler) -> None:
    gate, order = Gate(), list[str]()
    scheduler.submit(gate, "gate", WAIT)
    assert gate.began.wait(WAIT)
    pairs = [scheduler.submit(lambda _, name=name: order.append(name), name, WAIT) for name in "abc"]
    pairs[0][0].submitted -= 10
    gate.go.set()
    for _, future in pairs:
        future.result(WAIT)
    assert order == ["a", "c", "b"]


def test_a_newer_request_of_the_session_supersedes(scheduler: Scheduler) -> None:
    running, queued = Gate(), Gate()
    first = scheduler.submit(running, "s", WAIT)[1]
    assert running.began.wait(WAIT)
    other = Gate()
    second = scheduler.submit(queued, "s", WAIT)[1]
    assert first.result(WAIT) == "superseded"
    assert queued.began.wait(WAIT)
    third = scheduler.submit(other, "s", WAIT)[1]
    fourth = scheduler.submit(lambda _: "last", "s", WAIT)[1]
    assert second.result(WAIT) == "superseded"
    with pytest.raises(Interrupted, match="superseded"):
        third.result(WAIT)
    assert not other.began.is_set()
    assert fourth.result(WAIT) == "last"


def test_background_work_gives_way(scheduler: Scheduler) -> None:
    background = Gate()
    ahead = scheduler.submit(background, None, WAIT, background=True)[1]
    assert background.began.wait(WAIT)
    assert scheduler.submit(lambda _: "asked", "s", WAIT)[1].result(WAIT) == "asked"
    assert ahead.result(WAIT) == "cancelled"


def test_a_deadline_ends_the_work(scheduler: Scheduler) -> None:
    assert scheduler.submit(Gate(), None, 0.01)[1].result(WAIT) == "deadline"


def test_cancelling_a_queued_request(scheduler: Scheduler) -> None:
    gate = Gate()
    scheduler.submit(gate, "a", WAIT)
    assert gate.began.wait(WAIT)
    ticket, future = scheduler.submit(Gate(), "b", WAIT)
    scheduler.cancel(ticket)
    with pytest.raises(Interrupted, match="cancelled"):
        future.result(WAIT)
    gate.go.set()


def test_the_worker_outlives_an_error(scheduler: Scheduler) -> None:
    def fail(_: Ticket) -> None:
        raise ValueError("planted")

    failed: Future[None] = scheduler.submit(fail, None, WAIT)[1]
    with pytest.raises(ValueError, match="planted"):
        failed.result(WAIT)
    assert scheduler.submit(lambda _: 1, None, WAIT)[1].result(WAIT) == 1


def test_closing_ends_everything() -> None:
    scheduler = Scheduler()
    gate = Gate()
    running = scheduler.submit(gate, "a", WAIT)[1]
    assert gate.began.wait(WAIT)
    queued = scheduler.submit(Gate(), "b", WAIT)[1]
    scheduler.close()
    assert running.result(WAIT) == "cancelled"
    with pytest.raises(Interrupted):
        queued.result(WAIT)
    with pytest.raises(Interrupted):
        scheduler.submit(Gate(), "c", WAIT)[1].result(WAIT)


SCOPE = ("session", None)


@pytest.mark.parametrize(
    ("prefix", "suffix", "expected"),
    [
        ("x = ", "\n", "foo(bar)"),
        ("x = fo", "\n", "o(bar)"),
        ("x = foo(", "\n", "bar)"),
        ("x =", "\n", " foo(bar)"),
        ("x = foo(bar)", "\n", None),
        ("x = fa", "\n", None),
        ("y = fo", "\n", None),
        ("x = ", "", None),
    ],
)
def test_what_is_remembered(prefix: str, suffix: str, expected: str | None) -> None:
    recall = Recall()
    recall.add(Remembered(SCOPE, "x = ", "\n", "foo(bar)"))
    assert recall.find(SCOPE, prefix, suffix) == expected
    assert recall.find(("other", None), prefix, suffix) is None


def test_backspace_does_not_cross_a_line() -> None:
    recall = Recall()
    recall.add(Remembered(SCOPE, "a\nb", "", "cd"))
    assert recall.find(SCOPE, "a\n", "") == "bcd"
    assert recall.find(SCOPE, "a", "") is None


def test_memory_is_bounded() -> None:
    recall = Recall(most=3, most_chars=100)
    for n in range(9):
        recall.add(Remembered(SCOPE, f"{n}", "", "text"))
    assert recall.find(SCOPE, "5", "") is None
    assert recall.find(SCOPE, "8", "") == "text"
    recall.add(Remembered(SCOPE, "x" * 200, "", "text"))
    assert recall.find(SCOPE, "8", "") is None
