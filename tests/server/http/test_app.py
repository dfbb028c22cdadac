"""HTTP against a real serve-copilot: answers, streams, problem documents, clients that leave."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Generator
from typing import Any

import httpx2
import pytest

from starling_server.backends.openai.client import Upstream
from starling_server.client import Client
from starling_server.errors import RequestError, ServerUnreachable, UsageError
from starling_server.http.middleware.limits import MAX_BODY
from starling_server.schema import CompleteRequest, CompleteResponse, TextEvent

LINES = "".join(f"item_{n} = make_item({n})\n" for n in range(12))
JSON = {"content-type": "application/json"}


@pytest.fixture
def http(served: str) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=served, timeout=60, trust_env=False) as client:
        yield client


def test_complete(http: httpx2.Client) -> None:
    answer = http.post("/complete", json={"prefix": LINES + "item_12 = make", "suffix": "\n"})
    assert answer.status_code == 200
    body = CompleteResponse.model_validate(answer.json())
    assert body.choices[0].text
    assert body.base == "tiny"


def test_streaming_ends_with_the_whole_answer(http: httpx2.Client) -> None:
    body = {"prefix": LINES + "item_12 = make", "suffix": "\n"}
    whole = http.post("/complete", json=body).json()["choices"]
    with http.sse("/complete", method="POST", json={**body, "stream": True}) as source:
        events = [(event.event, json.loads(event.data)) for event in source]
    assert [kind for kind, _ in events[:-1]] == ["text"] * (len(events) - 1)
    assert events[-1][0] == "done"
    assert events[-1][1]["choices"] == whole
    assert "".join(data["delta"] for _, data in events[:-1]).startswith(whole[0]["text"][:4])


async def test_the_client_reads_both(served: str) -> None:
    request = CompleteRequest(prefix=LINES + "item_12 = make")
    async with Client(served) as client:
        whole = await client.complete(request)
        streamed = [event async for event in client.stream(request)]
        assert (await client.ready()).base == "tiny"
        with pytest.raises(RequestError, match="There is no adapter 'x'"):
            await client.complete(request.model_copy(update={"adapter": "x"}))
        with pytest.raises(RequestError, match="There is no adapter 'x'"):
            [_ async for _ in client.stream(request.model_copy(update={"adapter": "x"}))]
    assert all(isinstance(event, TextEvent) for event in streamed[:-1])
    assert isinstance(streamed[-1], CompleteResponse)
    assert streamed[-1].choices == whole.choices


def test_a_stream_tells_the_first_choice_only(http: httpx2.Client) -> None:
    body = {"prefix": LINES + "item_12 = ", "n": 3, "temperature": 1.0, "seed": 3, "max_tokens": 8, "stream": True}
    with http.sse("/complete", method="POST", json=body) as source:
        *texts, (done, whole) = [(event.event, json.loads(event.data)) for event in source]
    assert done == "done"
    assert len(whole["choices"]) > 1
    told = "".join(data["delta"] for _, data in texts)
    assert told.startswith(whole["choices"][0]["text"].rstrip())


async def test_half_a_character_does_not_stop_the_client(served: str) -> None:
    async with Client(served) as client:
        assert (await client.complete(CompleteRequest(prefix="x = '\ud83d", max_tokens=2))).choices


@pytest.mark.parametrize("url", ["http://127.0.0.1:80a0", "http://[::1"])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(UsageError, match="is not an address"):
        Client(url)
    with pytest.raises(UsageError, match="is not an address"):
        Upstream(url)


async def test_an_address_without_server_is_a_clear_error() -> None:
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(ServerUnreachable, match="start serve-copilot"):
            await client.health()


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"content": "{"}, 422, "not valid JSON"),
    ({"content": "\ud800".encode("utf-8", "surrogatepass")}, 422, ""),
    ({"json": {}}, 422, "prefix: Field required"),
    ({"json": []}, 422, ""),
    ({"json": {"prefix": 1}}, 422, "prefix"),
    ({"json": {"prefix": "a", "max_tokens": "many"}}, 422, "max_tokens"),
    ({"json": {"prefix": "a", "max_tokens": -1}}, 422, "max_tokens"),
    ({"json": {"prefix": "a", "n": 2}}, 422, "temperature"),
    ({"json": {"prefix": "a", "sufix": "b"}}, 422, "sufix"),
    ({"json": {"prefix": "a", "adapter": "nobody"}}, 404, "There is no adapter 'nobody'"),
    ({"json": {"prefix": "a", "adapter": "../../etc"}}, 404, "There is no adapter"),
    ({"json": {"prefix": "a" * MAX_BODY}}, 413, "over 2 MB"),
]


@pytest.mark.parametrize(("body", "status", "detail"), BAD, ids=range(len(BAD)))
def test_bad_bodies_get_a_problem_document(http: httpx2.Client, body: dict[str, Any], status: int, detail: str) -> None:
    answer = http.post("/complete", headers=JSON, **body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert problem["status"] == status
    assert detail in problem["detail"]
    assert set(problem) == {"type", "title", "status", "detail"}


def test_half_a_surrogate_pair_is_completed_as_a_question_mark(http: httpx2.Client) -> None:
    answer = http.post("/complete", headers=JSON, content='{"prefix": "x = \\ud800", "max_tokens": 1}')
    assert answer.status_code == 200


def test_a_body_without_length_is_bounded_too(http: httpx2.Client) -> None:
    answer = http.post("/complete", headers=JSON, content=(b"x" * 65536 for _ in range(64)))
    assert answer.status_code == 413


def test_other_addresses_and_methods(http: httpx2.Client) -> None:
    assert http.get("/nothing").json()["detail"].startswith("There is nothing at this address")
    assert http.get("/complete").status_code == 405
    assert http.get("/health").json() == {"status": "ok", "base": None, "adapters": []}
    assert http.get("/ready").json() == {"status": "ok", "base": "tiny", "adapters": []}


def test_the_document_describes_the_wire(http: httpx2.Client) -> None:
    document = http.get("/openapi.json").json()
    assert {"/complete", "/health", "/ready"} <= set(document["paths"])
    answers = document["paths"]["/complete"]["post"]["responses"]
    assert {"200", "404", "413", "422"} <= set(answers)


async def test_a_client_that_leaves_frees_the_model(served: str) -> None:
    """A long completion is dropped by its client; the next one is not kept waiting by it."""
    slow = CompleteRequest(prefix="def f():\n", max_tokens=512, mode="block", temperature=2.0, n=8, seed=1)
    quick = CompleteRequest(prefix="import os\n", max_tokens=1)
    async with Client(served) as client:
        whole = await client.complete(slow)
        started = asyncio.create_task(client.complete(slow))
        await asyncio.sleep(0.3)
        started.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await started
        answer = await client.complete(quick)
    assert whole.usage.completion_tokens > 200, "the slow one is slow"
    assert answer.timings.queue_ms < whole.timings.decode_ms / 2


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "starling_server", "--base", "tiny", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_port_in_use_is_one_sentence_and_status_2(served: str) -> None:
    done = run("--port", served.rpartition(":")[2])
    assert done.returncode == 2
    assert "choose another --port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0"], "not a loopback address"),
        (["--host", "example.org"], "not a loopback address"),
        (["--base", "/nowhere"], "There is no base '/nowhere'"),
        (["--adapter", "nobody"], "There is no adapter 'nobody'"),
        (["--max-tokens", "0"], "--max-tokens is 0: use a number between"),
        (["--device", "cuda:7"], "no CUDA GPU"),
    ],
)
def test_wrong_flags_are_one_sentence_and_status_2(arguments: list[str], sentence: str) -> None:
    done = run("--port", "0", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
