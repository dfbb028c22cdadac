"""What goes wrong in weeks of service, made to go wrong in a real serve-copilot: each with what its users see."""

import asyncio
import re
import signal
import socket
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from support import faulty as faults
from support.serving import Server, faulty, serving

import starling_server

BODY = {"prefix": "import os\nimport s", "max_tokens": 2}
LONG = {"prefix": "value = compute(value)\n" * 300 + "value", "max_tokens": 64, "mode": "block"}
"""Some thousand tokens, cut to the window: two dozen forwards of prefill."""
PATIENCE = 60
QUEUE = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    flags = ("--stall-seconds", "2", "--queue", str(QUEUE), "--no-prefetch", "--no-drafts")
    with faulty(tmp_path_factory.mktemp("faulty"), *flags) as server:
        yield server


def until(what: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def ready(server: Server) -> bool:
    try:
        with server.client() as http:
            return http.get("/ready").status_code == 200
    except httpx2.TransportError:
        return False


def test_a_forward_that_raises_fails_one_request(server: Server) -> None:
    with server.client() as http:
        server.order("raise")
        failed = http.post("/complete", json=BODY)
        assert (failed.status_code, failed.headers["content-type"]) == (500, "application/problem+json")
        assert http.post("/complete", json=BODY).status_code == 200
    assert "RuntimeError" in server.log(), "the log says what and where"
    assert faults.SECRET not in server.log(), "and quotes nothing"
    assert server.metric("starling_completions_total", outcome="error") == 1


def test_a_thread_that_dies_is_replaced(server: Server) -> None:
    reloads = server.metric("starling_model_reloads_total")
    with server.client() as http:
        server.order("die")
        assert http.post("/complete", json=BODY).status_code == 503
        until(lambda: ready(server))
        assert http.post("/complete", json=BODY).status_code == 200
    assert server.metric("starling_model_reloads_total") == reloads + 1
    assert "has died" in server.log()


def test_a_forward_that_hangs_is_left_and_the_model_loaded_again(server: Server) -> None:
    reloads = server.metric("starling_model_reloads_total")
    with server.client() as http, server.client() as other, ThreadPoolExecutor() as threads:
        server.order("hang")
        hung = threads.submit(http.post, "/complete", json=BODY)
        until(lambda: not (server.folder / "orders").exists())
        waiting = threads.submit(other.post, "/complete", json={**BODY, "deadline_ms": 30_000})
        answers = [hung.result(PATIENCE), waiting.result(PATIENCE)]
        for answer in answers:
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        until(lambda: ready(server))
        assert http.post("/complete", json=BODY).status_code == 200
    assert server.metric("starling_model_reloads_total") == reloads + 1


def test_a_full_queue_says_when_to_come_back(server: Server) -> None:
    server.order("slow")
    answers = asyncio.run(
        at_once(server.url, [{**LONG, "prefix": f"x{n}\n{LONG['prefix']}", "deadline_ms": 1500} for n in range(24)])
    )
    (server.folder / "orders").unlink()
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert "requests are waiting" in refused[0].json()["detail"]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert server.metric("starling_queue_depth") == 0


async def at_once(url: str, bodies: list[dict[str, object]]) -> list[httpx2.Response]:
    async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as http:
        return await asyncio.gather(*(http.post("/complete", json=body) for body in bodies))


def test_a_deadline_holds_in_the_queue_too(server: Server) -> None:
    server.order("slow")
    bodies: list[dict[str, object]] = [{**LONG, "prefix": f"y{n}\n{LONG['prefix']}"} for n in range(8 + QUEUE)]
    answers = asyncio.run(at_once(server.url, [{**body, "deadline_ms": 700} for body in bodies]))
    (server.folder / "orders").unlink()
    answered = [answer.json()["choices"][0]["finish_reason"] for answer in answers if answer.status_code == 200]
    assert set(answered) == {"deadline"}
    assert answered


@pytest.mark.parametrize("during", ["prefill", "decode"])
def test_a_client_that_leaves_frees_the_model(server: Server, during: str) -> None:
    ended = server.metric("starling_completions_total", outcome="cancelled")
    begun = (
        {**LONG, "prefix": f"{during} = 0\n{LONG['prefix']}"} if during == "prefill" else {**BODY, "max_tokens": 512}
    )
    server.order("slow")
    with server.client() as http, pytest.raises(httpx2.TimeoutException):
        http.post("/complete", json={**begun, "mode": "block", "temperature": 2.0, "seed": 1, "n": 8}, timeout=0.5)
    until(lambda: server.metric("starling_running") == 0, 5)
    (server.folder / "orders").unlink()
    assert server.metric("starling_completions_total", outcome="cancelled") == ended + 1


def test_the_wall_clock_means_nothing(server: Server) -> None:
    told = {
        "adapter_folders.py",
        "export_cache.py",
        "completions.py",
        "models.py",
    }  # how old files are; when an answer was made, for OpenAI's clients
    sources = Path(starling_server.__file__).parent.rglob("*.py")
    for source in (source for source in sources if source.name not in told):
        assert not re.search(r"time\.time\(|import time$|from time import .*\btime\b", source.read_text()), source
    with server.client() as http:
        for _ in range(2):  # a day forward, and back again
            server.order("step")
            assert http.post("/complete", json={**BODY, "deadline_ms": 20_000}).status_code == 200
            (server.folder / "orders").unlink()
            assert http.post("/complete", json=BODY).json()["choices"][0]["finish_reason"] != "deadline"
        assert ready(server)


def test_two_megabytes_are_a_document_and_more_is_refused(server: Server) -> None:
    with server.client() as http:
        most = http.post("/complete", json={**BODY, "prefix": "x = 1; " * 290_000})
        assert most.status_code == 200
        assert http.post("/complete", json={**BODY, "prefix": "x" * (2 << 20)}).status_code == 413


@pytest.mark.slow
def test_whoever_sends_slowly_or_nothing_is_let_go(server: Server) -> None:
    """Silent, trickling headers, trickling a body: each has its time, and others are answered meanwhile."""
    whole = (
        b"POST /complete HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    )
    kinds = {"silent": b"", "headers": b"GET /ready HTTP/1.1\r\nX-A: ", "body": whole + b"{"}
    where = urlsplit(server.url)
    opened = {kind: socket.create_connection((where.hostname, where.port)) for kind in kinds}
    crowd = [socket.create_connection((where.hostname, where.port)) for _ in range(200)]
    for kind, connection in opened.items():
        connection.sendall(kinds[kind])
        connection.setblocking(False)
    said = dict.fromkeys(opened, b"")
    alive, end = dict(opened), time.monotonic() + PATIENCE
    with server.client() as http:
        while alive and time.monotonic() < end:
            assert http.post("/complete", json=BODY).status_code == 200
            time.sleep(0.3)
            for kind, connection in list(alive.items()):
                if gone(connection, kind, said):
                    del alive[kind]
    for connection in (*opened.values(), *crowd):
        connection.close()
    assert not alive
    assert said["body"].startswith(b"HTTP/1.1 408 ")
    assert said["silent"] == said["headers"] == b""


def gone(connection: socket.socket, kind: str, said: dict[str, bytes]) -> bool:
    """Send one more byte where some were sent; whether the server has ended it, and what it said before."""
    try:
        received = connection.recv(65536)
        said[kind] += received
        if not received or kind == "body":
            return True
    except BlockingIOError:
        pass
    except ConnectionError:
        return True
    try:
        connection.sendall(b"x" if kind != "silent" else b"")
    except OSError:
        return True
    return False


def test_sigterm_under_load_ends_in_time_with_status_0(tmp_path: Path) -> None:
    with faulty(tmp_path) as server, ThreadPoolExecutor() as threads:
        server.order("slow")
        body = {**LONG, "max_tokens": 512, "temperature": 2.0, "seed": 1, "n": 8, "deadline_ms": 60_000}
        with server.client() as http:
            running = [threads.submit(http.post, "/complete", json=body) for _ in range(4)]
            until(lambda: server.metric("starling_running") >= 4)
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            until(lambda: refused(server.url), 2)
            assert server.process.wait(PATIENCE) == 0
            took = time.monotonic() - started
            answers = [each.result(PATIENCE) for each in running]
        assert took < 10, "5 on a machine that has nothing else to do"
        assert [answer.status_code for answer in answers] == [200] * 4
        assert {answer.json()["choices"][0]["finish_reason"] for answer in answers} == {"cancelled"}
        assert "Traceback" not in server.log()


def refused(url: str) -> bool:
    where = urlsplit(url)
    try:
        socket.create_connection((where.hostname, where.port), 1).close()
    except ConnectionError:
        return True
    return False


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to write to")
def test_a_full_disk_costs_the_log_and_nothing_else(tmp_path: Path) -> None:
    with serving(tmp_path, "--verbose", stderr="/dev/full") as server, server.client() as http:
        for _ in range(3):
            assert http.post("/complete", json=BODY).status_code == 200
        assert http.post("/complete", json={}).status_code == 422
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 0


def test_a_model_that_cannot_be_brought_back_ends_the_process(tmp_path: Path) -> None:
    """Three times within ten minutes is a habit: a supervisor starts a new process."""
    with faulty(tmp_path, "--stall-seconds", "1") as server, server.client() as http:
        for _ in range(4):
            server.order("die")
            assert http.post("/complete", json=BODY).status_code == 503
            until(lambda: server.process.poll() is not None or ready(server))
        assert server.process.wait(PATIENCE) == 70
        assert "supervisor can restart it" in server.log()
