"""Two clients of one real server: nothing that one has sent shows in what the other gets."""

from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from support.relay import EXACT
from support.serving import ADMIN, ALICE, Server, protected

SECRET = "".join(f"password_{n} = 'correct horse {n * 7919}'\n" for n in range(30))
QUESTION = "password_30 = 'corr"
START = 16
"""Tokens that all questions of a route begin with, so that a client's own first ones may be reused."""


class Seen(NamedTuple):
    """What an answer tells a client."""

    text: str
    prompt: int
    cached: int


def complete(http: httpx2.Client, text: str) -> Seen:
    answer = _post(http, "/complete", {"prefix": text, "max_tokens": 8})
    return Seen(answer["choices"][0]["text"], answer["usage"]["prompt_tokens"], answer["usage"]["cached_tokens"])


def session(http: httpx2.Client, text: str) -> Seen:
    """As an editor: the same name of a session for both."""
    answer = _post(http, "/complete", {"prefix": text, "max_tokens": 8, "session": "src/app.py"})
    return Seen(answer["choices"][0]["text"], answer["usage"]["prompt_tokens"], answer["usage"]["cached_tokens"])


def infill(http: httpx2.Client, text: str) -> Seen:
    answer = _post(http, "/infill", {"input_prefix": text, "n_predict": 8})
    return Seen(answer["content"], answer["tokens_evaluated"], answer["timings"]["cache_n"])


def suggestion(http: httpx2.Client, text: str) -> Seen:
    return _openai(_post(http, "/v1/completions", {"prompt": text, "suffix": "", "max_tokens": 8}))


def raw(http: httpx2.Client, text: str) -> Seen:
    return _openai(_post(http, "/v1/completions", {"prompt": text, "max_tokens": 8}))


def _openai(answer: dict[str, Any]) -> Seen:
    usage = answer["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return Seen(answer["choices"][0]["text"], usage["prompt_tokens"], cached)


def _post(http: httpx2.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


ROUTES = [complete, session, infill, suggestion, raw]
COMMON = ("--no-prefetch", "--deadline-ms", "60000")


@pytest.fixture(scope="module", params=["torch", "ggml"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    if request.param == "ggml" and find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed")
    flags = {"torch": EXACT, "ggml": ("--runner", "ggml")}
    with protected(tmp_path_factory.mktemp("clients"), *flags[request.param], *COMMON) as server:
        yield server


@pytest.mark.parametrize("ask", ROUTES)
def test_nobody_profits_by_anothers_text(server: Server, ask: Callable[[httpx2.Client, str], Seen]) -> None:
    check(server, ask)


def test_nor_where_another_server_computes(served: str, tmp_path: Path) -> None:
    """It tells what it had kept at the end of an answer, and ours leaves most before: raw prompts it goes through."""
    with protected(tmp_path, "--engine", f"openai:{served}/v1", *COMMON) as server:
        check(server, raw)


def check(server: Server, ask: Callable[[httpx2.Client, str], Seen]) -> None:
    """The other asks for exactly the same, and for beginnings of it, as one would that guesses token by token."""
    secret = f"# {ask.__name__}\n{SECRET}"
    with server.client(ALICE) as victim, server.client(ADMIN) as other:
        first = ask(victim, secret + QUESTION)
        same = ask(other, secret + QUESTION)
        assert (same.text, same.prompt) == (first.text, first.prompt)
        assert max(first.cached, same.cached) <= START, "as if nobody had asked before"
        assert ask(victim, secret + QUESTION + "X").cached > first.prompt / 2, "its own is kept all the same"
        for share in (4, 2):
            beginning = f"# {ask.__name__} {share}\n" + SECRET[: len(SECRET) // share] + "password"
            ask(victim, beginning + QUESTION)
            assert ask(other, beginning).cached <= START


def test_a_salt_keeps_those_apart_for_whom_a_client_asks(tmp_path: Path) -> None:
    def cached(http: httpx2.Client, salt: str | None) -> int:
        body = {"prompt": SECRET, "max_tokens": 1, "cache_salt": salt}
        return _openai(_post(http, "/v1/completions", body)).cached

    with protected(tmp_path) as server, server.client() as http:
        assert [cached(http, salt) > 0 for salt in ("one", "two", None, "one", None)] == [False] * 3 + [True] * 2
