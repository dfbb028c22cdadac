"""Who goes first, who shares a forward, who is superseded, and that the worker outlives everything."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from threading import Event
from time import sleep

import pytest

from starling_server.completion.suggestion_cache import Recall, Remembered
from starling_server.engine.engine import Steps
from starling_server.engine.job_queue import Interrupted, Ticket
from starling_server.engine.protocols import AdapterId, Feed, Rows
from starling_server.engine.scheduler import LATE, Scheduler
from starling_server.errors import Overloaded, Stalled

WAIT = 20
ONE = Feed(None, [1])


def forward(feeds: Sequence[Feed]) -> list[Rows]:
    sleep(0.001)
    return [[None] for _ in feeds]


@pytest.fixture
def scheduler() -> Generator[Scheduler]:
    scheduler = Scheduler(forward)
    yield scheduler
    scheduler.close()


class Gate:
    """Work that holds its place until it is let go or interrupted."""

    def __init__(self, feed: Feed = ONE) -> None:
        self.began, self.go, self.feed = Event(), Event(), feed

    def __call__(self, ticket: Ticket) -> Steps[str]:
        self.began.set()
        while not self.go.is_set():
            if (yield self.feed) is None:
                return ticket.interrupted() or "ended"
        return "done"


def quick(result: Callable[[], object]) -> Callable[[Ticket], Steps[object]]:
    """Work of one forward."""

    def work(_: Ticket) -> Steps[object]:
        yield ONE
        return result()

    return work


def test_newest_first_across_sessions(scheduler: Scheduler) -> None:
    gate, order = Gate(), list[str]()
    scheduler.submit(gate, "gate", WAIT)
    assert gate.began.wait(WAIT)
    futures = [scheduler.submit(quick(lambda name=name: order.append(name)), name, WAIT)[1] for name in "abc"]
    gate.go.set()
    for future in futures:
        future.result(WAIT)
    assert order == ["c", "b", "a"]


def test_the_oldest_goes_first_once_it_has_waited_long(scheduler: Scheduler) -> None:
    gate, order = Gate(), list[str]()
    scheduler.submit(gate, "gate", WAIT)
    assert gate.began.wait(WAIT)
    pairs = [scheduler.submit(quick(lambda name=name: order.append(name)), name, WAIT) for name in "abc"]
    pairs[0][0].submitted -= 10
    gate.go.set()
    for _, future in pairs:
        future.result(WAIT)
    assert order == ["a", "c", "b"]


def test_those_that_have_waited_long_get_every_other_turn(scheduler: Scheduler) -> None:
    gate, order = Gate(), list[str]()
    scheduler.submit(gate, "gate", WAIT)
    assert gate.began.wait(WAIT)
    pairs = [scheduler.submit(quick(lambda name=name: order.append(name)), name, WAIT) for name in "abcdef"]
    for ticket, _ in pairs[:3]:
        ticket.submitted -= 10
    gate.go.set()
    for _, future in pairs:
        future.result(WAIT)
    assert "".join(order) == "afbecd"


def test_a_newer_request_of_the_session_supersedes(scheduler: Scheduler) -> None:
    running, queued = Gate(), Gate()
    first = scheduler.submit(running, "s", WAIT)[1]
    assert running.began.wait(WAIT)
    other = Gate()
    second = scheduler.submit(queued, "s", WAIT)[1]
    assert first.result(WAIT) == "superseded"
    assert queued.began.wait(WAIT)
    third = scheduler.submit(other, "s", WAIT)[1]
    fourth = scheduler.submit(quick(lambda: "last"), "s", WAIT)[1]
    assert second.result(WAIT) == "superseded"
    with pytest.raises(Interrupted, match="superseded"):
        third.result(WAIT)
    assert not other.began.is_set()
    assert fourth.result(WAIT) == "last"


def test_background_work_gives_way(scheduler: Scheduler) -> None:
    background = Gate()
    ahead = scheduler.submit(background, None, WAIT, background=True)[1]
    assert background.began.wait(WAIT)
    assert scheduler.submit(quick(lambda: "asked"), "s", WAIT)[1].result(WAIT) == "asked"
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
    def fail() -> None:
        raise ValueError("planted")

    failed: Future[object] = scheduler.submit(quick(fail), None, WAIT)[1]
    with pytest.raises(ValueError, match="planted"):
        failed.result(WAIT)
    assert scheduler.submit(quick(lambda: 1), None, WAIT)[1].result(WAIT) == 1


def test_a_forward_that_fails_ends_those_that_shared_it() -> None:
    def fail(feeds: Sequence[Feed]) -> list[Rows]:
        if any(7 in feed.ids for feed in feeds):
            raise ValueError("planted")
        return forward(feeds)

    scheduler = Scheduler(fail, rows=2)
    failed = scheduler.submit(Gate(Feed(None, [7])), "a", WAIT)[1]
    with pytest.raises(ValueError, match="planted"):
        failed.result(WAIT)
    assert scheduler.submit(quick(lambda: 1), "b", WAIT)[1].result(WAIT) == 1
    scheduler.close()


def test_requests_that_decode_share_forwards_by_adapter() -> None:
    seen = list[list[tuple[int, AdapterId | None]]]()

    def watched(feeds: Sequence[Feed]) -> list[Rows]:
        seen.append([(len(feed.ids), feed.adapter) for feed in feeds])
        return forward(feeds)

    scheduler = Scheduler(watched, rows=4, decode=2)
    feeds = [Feed(None, [1], adapter="a"), Feed(None, [1, 2], adapter="a"), Feed(None, [1]), Feed(None, [1] * 3)]
    gates = [Gate(feed) for feed in feeds]
    futures = [scheduler.submit(gate, str(n), WAIT)[1] for n, gate in enumerate(gates)]
    assert all(gate.began.wait(WAIT) for gate in gates)
    at = len(seen)
    while len(seen) < at + 8:
        sleep(0.001)
    for gate in gates:
        gate.go.set()
    assert [future.result(WAIT) for future in futures] == ["done"] * 4
    shared = [sorted(forward, key=str) for forward in seen[at + 4 : at + 8]]
    assert [(1, "a"), (2, "a")] in shared
    assert [(1, None)] in shared
    assert [(3, None)] in shared
    scheduler.close()


def test_no_more_wait_than_may() -> None:
    scheduler, gate = Scheduler(forward, most=2), Gate()
    scheduler.submit(gate, "gate", WAIT)
    assert gate.began.wait(WAIT)
    waiting = [scheduler.submit(quick(lambda: 1), name, WAIT)[1] for name in "ab"]
    with pytest.raises(Overloaded, match="2 requests are waiting"):
        scheduler.submit(quick(lambda: 1), "c", WAIT)
    assert scheduler.submit(quick(lambda: 2), "b", WAIT)[1] not in waiting, "who asks again takes the own place"
    with pytest.raises(Interrupted):
        scheduler.submit(quick(lambda: 1), None, WAIT, background=True)[1].result(WAIT)
    gate.go.set()
    assert waiting[0].result(WAIT) == 1
    scheduler.close()


def test_a_deadline_ends_what_waits_and_what_a_dead_forward_holds() -> None:
    go, began = Event(), Event()

    def hang(feeds: Sequence[Feed]) -> list[Rows]:
        began.set()
        go.wait(WAIT)
        return forward(feeds)

    scheduler = Scheduler(hang)
    held, held_future = scheduler.submit(quick(lambda: 1), "a", WAIT)
    assert began.wait(WAIT)
    early, early_future = scheduler.submit(Gate(), "b", WAIT)
    scheduler.expire(early)
    with pytest.raises(Interrupted, match="deadline"):
        early_future.result(WAIT)
    scheduler.expire(held)
    assert not held_future.done(), "the forward may still come back"
    while scheduler.silent <= LATE:
        sleep(0.05)
    late, late_future = scheduler.submit(Gate(), "c", WAIT)
    for ticket, future in ((held, held_future), (late, late_future)):
        scheduler.expire(ticket)
        with pytest.raises(Stalled):
            future.result(WAIT)
    scheduler.abandon()
    go.set()
    scheduler.close(WAIT)
    assert not scheduler.alive


def test_closing_ends_everything() -> None:
    scheduler = Scheduler(forward)
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
        ("x =", "\n", None),
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


def test_typing_along_shows_what_was_shown_not_what_was_looked_ahead_to() -> None:
    recall = Recall()
    recall.add(Remembered(SCOPE, "x = ", "\n", "foo(bar)"))
    recall.add(Remembered(SCOPE, "x = foo(bar)", "\n", "\ny = 1"))
    assert recall.find(SCOPE, "x = fo", "\n") == "o(bar)"
    assert recall.find(SCOPE, "x = foo(bar)", "\n") == "\ny = 1"


def test_deleted_text_is_not_offered_again() -> None:
    """An answer that was given in front of the deleted text leads on; those given behind it began with that text."""
    recall = Recall()
    recall.add(Remembered(SCOPE, "os.path.", "\n", "join(a)"))
    for typed in ("jo", "joy", "joyn"):
        recall.add(Remembered(SCOPE, f"os.path.{typed}", "\n", f"({typed})"))
    assert recall.find(SCOPE, "os.path.joy", "\n") == "(joy)"
    assert recall.find(SCOPE, "os.path.j", "\n") == "oin(a)"
    assert recall.find(SCOPE, "os.path.", "\n") == "join(a)"
    assert recall.find(SCOPE, "os.path", "\n") is None


def test_memory_is_bounded() -> None:
    recall = Recall(most=3, most_bytes=2000)
    for n in range(9):
        recall.add(Remembered(SCOPE, f"{n}", "", "text"))
    assert recall.find(SCOPE, "5", "") is None
    assert recall.find(SCOPE, "8", "") == "text"
    recall.add(Remembered(SCOPE, "x" * 2000, "", "text"))
    assert recall.find(SCOPE, "8", "") is None
