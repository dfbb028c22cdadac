"""Engines over HTTP: serve-copilot, and other servers with the OpenAI or llama.cpp API.

Other servers return raw model text. The project's stop rules and trimming are applied to it and to the truth, so that
the models are compared, not the editor plugins that would apply such rules.
"""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httpx2

from starling_server.backends.openai import client as openai_client
from starling_server.client import Client
from starling_server.errors import ServerUnreachable, UsageError
from starling_server.schema import CompleteRequest
from starling_training.examples.spans import Hole
from starling_training.scoring.engines import PLAIN, Manner
from starling_training.scoring.trials import Answer, inserted
from starling_training.sources.origins import shown

DEADLINE_MS = 60_000
SECONDS = 600.0
LINES_BEFORE, LINES_AFTER = 256, 64
"""Max lines before and after the cursor sent to other servers: llama.vim's `n_prefix` and `n_suffix`."""
CUT = frozenset({"length", "limit"})
"""Values with which other servers report that the token limit ended an answer."""


@dataclass(frozen=True, slots=True)
class Served:
    """One adapter of a running serve-copilot."""

    client: Client
    adapter: str | None

    async def ask(self, hole: Hole, manner: Manner = PLAIN) -> Answer:
        """The server's answer, without a loss. Raises RequestError."""
        request = CompleteRequest(
            prefix=hole.prefix, suffix=hole.suffix, adapter=self.adapter, mode=manner.mode, session=manner.session,
            temperature=manner.temperature, seed=manner.seed, deadline_ms=DEADLINE_MS,
            context=manner.context(hole),
        )  # fmt: skip
        began = perf_counter()
        response = await self.client.complete(request)
        ms = (perf_counter() - began) * 1e3
        choice, used = response.choices[0], response.usage
        stopped = choice.finish_reason != "length"
        return Answer(choice.text, stopped, ms=ms, prompt_tokens=used.prompt_tokens, cached_tokens=used.cached_tokens)


@dataclass(frozen=True, slots=True)
class OpenAi:
    """A server with `/v1/completions`."""

    http: httpx2.AsyncClient
    model: str
    max_tokens: int
    template: str = ""
    """A raw prompt with `{prefix}` and `{suffix}` in it, for servers without the field `suffix`."""

    async def ask(self, hole: Hole, manner: Manner = PLAIN) -> Answer:
        """The first choice; raises ServerUnreachable."""
        before, after = around(hole)
        raw = self.template.replace("{prefix}", before).replace("{suffix}", after) if self.template else ""
        body = {
            "model": self.model, "prompt": raw or before, "max_tokens": self.max_tokens,
            "temperature": manner.temperature,
            **({} if raw else {"suffix": after}), **({} if manner.seed is None else {"seed": manner.seed}),
        }  # fmt: skip
        found, ms = await _post(self.http, "completions", body)
        choice, used = found["choices"][0], found.get("usage") or {}
        cached = (used.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        text = inserted(hole, choice["text"], manner.mode)
        stopped = choice.get("finish_reason") not in CUT
        return Answer(text, stopped, ms=ms, prompt_tokens=used.get("prompt_tokens", 0), cached_tokens=cached)


@dataclass(frozen=True, slots=True)
class Infill:
    """llama.cpp's `/infill`, with llama.vim's request."""

    http: httpx2.AsyncClient
    max_tokens: int

    async def ask(self, hole: Hole, manner: Manner = PLAIN) -> Answer:
        """The content; raises ServerUnreachable."""
        before, after = around(hole)
        lines, newline, start = before.rpartition("\n")
        body: dict[str, Any] = {
            "input_prefix": lines + newline, "prompt": start, "input_suffix": after,
            "input_extra": _extra(manner, hole),
            "n_predict": self.max_tokens, "temperature": manner.temperature, "cache_prompt": True,
            **({} if manner.seed is None else {"seed": manner.seed}),
        }  # fmt: skip
        found, ms = await _post(self.http, "infill", body)
        timed = found.get("timings") or {}
        cached = timed.get("cache_n") or 0
        text = inserted(hole, found["content"], manner.mode)
        stopped = found.get("stop_type") not in CUT
        prompt = cached + (timed.get("prompt_n") or 0)
        return Answer(text, stopped, ms=ms, prompt_tokens=prompt, cached_tokens=cached)


def _extra(manner: Manner, hole: Hole) -> list[dict[str, str]]:
    """Pieces of other files as llama.cpp takes them, the most important last."""
    return [{"text": piece.text, "filename": piece.path} for piece in reversed(manner.context(hole))]


def around(hole: Hole) -> tuple[str, str]:
    """The lines around the cursor that are sent to other servers."""
    before, after = hole.prefix.split("\n"), hole.suffix.split("\n")
    return "\n".join(before[-LINES_BEFORE - 1 :]), "\n".join(after[: LINES_AFTER + 1])


def client(url: str) -> httpx2.AsyncClient:
    """HTTP client for the server at `url`; request paths are relative to it."""
    timeout = httpx2.Timeout(SECONDS, connect=2.0)
    return httpx2.AsyncClient(base_url=url.rstrip("/") + "/", timeout=timeout, trust_env=False)


async def only_model(http: httpx2.AsyncClient) -> str:
    """The only model of an OpenAI server; raises UsageError if there are several and a name is required."""
    try:
        names = await openai_client.models(http)
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        raise _silent(http, error) from error
    if len(names) != 1:
        raise UsageError(
            f"{shown(str(http.base_url))} serves {', '.join(names) or 'no model'}: name one with --adapter."
        )
    return names[0]


async def _post(http: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """The JSON object of the response, and its milliseconds."""
    began = perf_counter()
    try:
        answer = (await http.post(path, json=body)).raise_for_status().json()
        answer["choices"][0]["text"] if path == "completions" else answer["content"]
    except (httpx2.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
        raise _silent(http, error) from error
    return answer, (perf_counter() - began) * 1e3


def _silent(http: httpx2.AsyncClient, error: Exception) -> ServerUnreachable:
    said = error.response.text[:200] if isinstance(error, httpx2.HTTPStatusError) else type(error).__name__
    return ServerUnreachable(
        f"{shown(str(http.base_url))} does not answer as --engine says it would ({said}): correct it."
    )
