"""What a request costs its client, how long a stream may take, and that refusals spend nobody else's allowance."""

import asyncio
import json
import time
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest
from support import raw
from support.serving import ADMIN, ALICE, Server, protected

from starling_server.errors import TooLarge, TooManyRequests
from starling_server.http.middleware.limits import Allowances

DEADLINE_SECONDS = 0.5
RAW = {"prompt": "import o", "max_tokens": 2}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """Twenty generations at once, twenty a second, five that wait, half a second for each request."""
    flags = (
        "--client-rate", "20", "--client-concurrency", "12", "--queue", "5", "--no-prefetch",
        "--deadline-ms", str(round(DEADLINE_SECONDS * 1e3)),
    )  # fmt: skip
    with protected(tmp_path_factory.mktemp("narrow"), *flags) as server:
        yield server


def refusal(answer: httpx2.Response) -> str:
    assert answer.status_code in (429, 503), answer.text
    return answer.json()["detail"]


def test_several_prompts_and_choices_count_as_so_many(narrow: Server) -> None:
    with narrow.client() as http:
        many = http.post("/v1/completions", json={**RAW, "prompt": ["a"] * 5, "n": 3})
        assert "needs 15 concurrent generations, and alice may run 12" in refusal(many)
        assert "retry-after" not in many.headers, "waiting does not help"
        waiting = http.post("/v1/completions", json={**RAW, "prompt": ["a"] * 6})
        assert (waiting.status_code, "6 more generations" in refusal(waiting)) == (503, True)
        streamed = http.post("/v1/completions", json={**RAW, "prompt": ["a"] * 16, "n": 8, "stream": True})
        assert "alice may start 40 at once" in refusal(streamed)


def test_they_are_taken_off_the_rate(narrow: Server) -> None:
    """Forty in a burst: five requests of eight choices. Inside a word no model runs, so a slow machine is as fast."""
    body = {"prefix": "import o", "suffix": "s", "max_tokens": 1, "n": 8, "temperature": 1.0}
    with narrow.client(ADMIN) as http:
        statuses = [http.post("/complete", json=body).status_code for _ in range(12)]
    assert statuses[:3] == [200] * 3
    assert 429 in statuses


async def test_a_place_holds_what_runs_at_once_and_gives_it_back() -> None:
    limits = Allowances(0, 10)
    first, second = await limits.take("a"), await limits.take("a")
    with first:
        await first.cost(6, 6)
        with second:
            with pytest.raises(TooManyRequests, match="7 generations running and may run 10"):
                await second.cost(5, 5)
            await second.cost(4, 4)
        with pytest.raises(TooLarge, match="11 concurrent generations"):
            await first.cost(11, 11)
    third = await limits.take("a")
    with third:
        await third.cost(10, 10)
    rated = Allowances(0.25, 0)
    await rated.take("b")
    with pytest.raises(TooManyRequests):
        await rated.take("b")


async def test_wrong_tokens_leave_the_probe_its_answer(narrow: Server) -> None:
    headers = {"authorization": "Bearer nobody-s-token-0123456789"}
    async with httpx2.AsyncClient(base_url=narrow.url, timeout=60, trust_env=False, headers=headers) as wrong:
        answers = await asyncio.gather(*(wrong.post("/complete", json={}) for _ in range(300)))
    assert {answer.status_code for answer in answers} == {401, 429}
    with narrow.client(None) as probe:
        assert [probe.get(path).status_code for path in ("/health", "/ready")] == [200, 200]


@pytest.mark.parametrize("path", ["/complete", "/v1/completions", "/v1/completions with suffix"])
def test_a_stream_ends_by_its_deadline(narrow: Server, path: str) -> None:
    """From the first byte to the last, however many choices there are."""
    time.sleep(1)  # for the rate of the tests before
    body = {"temperature": 2.0, "seed": 1, "max_tokens": 512, "n": 8, "stream": True}
    long = "def f():\n" * 200
    body |= {"prefix": long, "mode": "block"} if path == "/complete" else {"prompt": long}
    body |= {"suffix": ""} if "suffix" in path else {}
    started = time.monotonic()
    with narrow.client(ADMIN) as http:
        answer = http.post(path.partition(" ")[0], json=body)
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - started < 6 * DEADLINE_SECONDS, "it was one deadline for each choice"
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    if path == "/complete":
        assert "deadline" in {each["finish_reason"] for each in json.loads(events[-1])["choices"]}
    else:
        assert events[-1] == "[DONE]"
        ends = [each for line in events[:-1] for each in json.loads(line)["choices"] if each["finish_reason"]]
        assert {each["index"] for each in ends} == set(range(len(ends)))
        assert "length" in {each["finish_reason"] for each in ends}


async def test_thousands_of_half_requests_hold_nobody_up(narrow: Server) -> None:
    host, port = narrow.url.removeprefix("http://").split(":")
    lines = list[asyncio.StreamWriter]()
    for count in range(1500):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write((b"GET /health HTTP/1.1\r\nHost: loc", b"", b"POST /complete HTTP/1.1\r\n")[count % 3])
        lines.append(writer)
    try:
        async with httpx2.AsyncClient(base_url=narrow.url, trust_env=False, timeout=30) as http:
            started = time.monotonic()
            assert (await http.get("/health")).status_code == 200
            assert time.monotonic() - started < 5
    finally:
        for writer in lines:
            writer.close()


def test_a_client_that_never_reads_does_not_stop_the_others(narrow: Server) -> None:
    """Hundreds of answers that nobody takes: their connection ends by itself, and its descriptor is free again."""
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with raw.connect(narrow.url) as line, narrow.client(None) as http:
        line.settimeout(2)
        try:
            for _ in range(2000):
                line.sendall(asked)
        except OSError:
            pass  # the server reads no more of it
        assert http.get("/health").status_code == 200
        used = Path(f"/proc/{narrow.process.pid}/fd")
        if used.is_dir():
            before = len(list(used.iterdir()))
            until = time.monotonic() + 60
            while len(list(used.iterdir())) >= before and time.monotonic() < until:
                time.sleep(0.5)
            assert len(list(used.iterdir())) < before
    assert ALICE not in narrow.log()
