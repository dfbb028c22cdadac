"""llama.cpp's shape, with the very requests of llama.vim and llama.vscode; and the counts of what became of them."""

import json
from collections.abc import Generator
from typing import Any

import httpx2
import pytest

LINES = "".join(f"item_{n} = make_item({n})\n" for n in range(12))
LLAMA_VIM: dict[str, Any] = {
    "input_prefix": LINES,
    "input_suffix": "\n\n",
    "input_extra": [{"text": "def make_item(n):\n    return n\n", "time": [1, 2], "filename": "items.py"}],
    "prompt": "item_12 = make",
    "n_predict": 128,
    "stop": [],
    "n_indent": 0,
    "top_k": 40,
    "top_p": 0.99,
    "stream": False,
    "samplers": ["top_k", "top_p", "infill"],
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 1000,
    "response_fields": [
        "content", "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms", "timings/prompt_per_second",
        "timings/predicted_n", "timings/predicted_ms", "timings/predicted_per_token_ms",
        "timings/predicted_per_second", "truncated", "tokens_cached",
    ],
}  # fmt: skip
"""What llama.vim's `llama#fim` sends."""
READ_AHEAD: dict[str, Any] = {
    "input_prefix": "", "input_suffix": "", "input_extra": LLAMA_VIM["input_extra"], "prompt": "", "n_predict": 0,
    "temperature": 0.0, "stream": False, "samplers": [], "cache_prompt": True, "t_max_prompt_ms": 1,
    "t_max_predict_ms": 1, "response_fields": [""],
}  # fmt: skip
"""What it sends in the background, so that llama.cpp reads its pieces of other files."""
LLAMA_VSCODE = {
    **{name: value for name, value in LLAMA_VIM.items() if name not in ("response_fields", "stop", "n_indent")},
    "input_extra": [{"text": "def make_item(n):\n", "time": 1764000000000, "filename": "items.py"}],
    "lora": [{"id": 0, "scale": 0.5}],
}


@pytest.fixture
def http(served: str) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=served, timeout=60, trust_env=False) as client:
        yield client


def test_llama_vim_gets_what_it_reads(http: httpx2.Client) -> None:
    answer = http.post("/infill", json=LLAMA_VIM)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == set(LLAMA_VIM["response_fields"])
    assert body["content"].startswith("_item")
    assert body["timings/prompt_n"] + body["timings/predicted_n"] > 0
    ours = http.post("/complete", json={"prefix": LINES + "item_12 = make", "suffix": "\n\n"}).json()
    assert body["content"] == ours["choices"][0]["text"]


def test_reading_ahead_answers_at_once_with_nothing(http: httpx2.Client) -> None:
    assert http.post("/infill", json=READ_AHEAD).json() == {}


def test_llama_vscode_gets_what_it_reads(http: httpx2.Client) -> None:
    body = http.post("/infill", json=LLAMA_VSCODE).json()
    assert body["content"].startswith("_item")
    assert body["stop"] is True
    assert {"prompt_n", "prompt_ms", "prompt_per_second", "predicted_n", "predicted_ms", "predicted_per_second"} <= set(
        body["timings"]
    )
    assert body["tokens_evaluated"] == body["timings"]["cache_n"] + body["timings"]["prompt_n"]


def test_a_stream_is_the_content_and_then_the_rest(http: httpx2.Client) -> None:
    whole = http.post("/infill", json=LLAMA_VSCODE).json()
    with http.sse("/infill", method="POST", json={**LLAMA_VSCODE, "stream": True}) as source:
        parts = [json.loads(event.data) for event in source]
    assert "".join(part["content"] for part in parts) == whole["content"]
    assert [part["stop"] for part in parts] == [False, True]
    assert parts[-1]["stop_type"] == whole["stop_type"]


@pytest.mark.parametrize("fields", [{"n_predict": -1}, {"n_predict": 100_000}, {"temperature": 0.1, "seed": -1}, {}])
def test_fewer_and_other_fields(http: httpx2.Client, fields: dict[str, Any]) -> None:
    answer = http.post("/infill", json={"input_prefix": LINES + "item_12 = make", **fields})
    assert answer.status_code == 200
    assert answer.json()["content"]


def test_wrong_fields_are_refused_in_a_sentence(http: httpx2.Client) -> None:
    answer = http.post("/infill", json={"input_prefix": 3})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "input_prefix" in answer.json()["detail"]


def test_events_are_counts_without_text(http: httpx2.Client) -> None:
    for event in ("shown", "accepted", "dismissed"):
        assert http.post("/v1/events", json={"event": event, "adapter": "base"}).status_code == 204
    assert http.post("/v1/events", json={"event": "shown", "text": "secret"}).status_code == 422
    assert http.post("/v1/events", json={"event": "shown", "adapter": "nobody"}).status_code == 404
