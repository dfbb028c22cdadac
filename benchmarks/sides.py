"""The sides of a comparison: each completes the text at a cursor with the same number of tokens.

Every side gets the same prompt, from Starling's window. Starling cuts it itself; the peers get its ids (`raw`,
`generate`) or its text (`infill`, whose own prompt format adds a few ids).
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import httpx2
import llama_server
import ours

from starling_server.backends.llamacpp.gguf_export import Kind
from starling_server.completion.service import Service
from starling_server.config import ModelConfig
from starling_server.models import adapters, bases
from starling_server.models.manifest import prompt_format
from starling_server.prompt import window
from starling_server.prompt.cursor import Cursor
from starling_server.prompt.fim import Fim, Tokenizer
from starling_server.schema import CompleteRequest

SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Measurements of one request."""

    ms: float
    """By the client's clock."""
    tokens: int
    prompt: int
    """Tokens of the prompt."""
    computed: int
    """Prompt tokens that were not cached."""
    decode_ms: float = 0.0
    """From the first token to the last, if the side reports it."""

    @property
    def ms_per_token(self) -> float:
        """Of the whole request, so that sides with different numbers of tokens can be compared."""
        return self.ms / max(1, self.tokens)


class Side(Protocol):
    """One side of a comparison."""

    async def ask(self, prefix: str, suffix: str) -> Answer:
        """The answer at the cursor between `prefix` and `suffix`."""
        ...


@dataclass(frozen=True, slots=True)
class Prompts:
    """Starling's window over a document, and its prompt."""

    tokenizer: Tokenizer
    fim: Fim
    budget: int

    def cut(self, prefix: str, suffix: str) -> window.Window:
        """The part of a document that is sent."""
        return window.fit(Cursor.at(prefix, suffix), self.budget, self.tokenizer.encode)

    def ids(self, prefix: str, suffix: str) -> list[int]:
        """The prompt, suffix first."""
        cut = self.cut(prefix, suffix)
        return self.fim.prompt(cut.prefix, cut.suffix)

    def text(self, prefix: str, suffix: str) -> tuple[str, str]:
        """The same window as text before and after the cursor."""
        cut = self.cut(prefix, suffix)
        return self.tokenizer.decode(cut.prefix), self.tokenizer.decode(cut.suffix)


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings common to all sides of a run."""

    base: str
    """A name that `bases.find` accepts."""
    adapter: str | None
    context: int
    tokens: int
    drafts: bool
    """Starling with drafts; only one key at a time."""
    gguf_type: Kind
    """Type of the base's matrices in llama.cpp, for Starling's runner and for llama-server."""
    gguf: Path | None
    """The base for llama.cpp, if a peer needs it."""

    def prompts(self) -> Prompts:
        """Prompts as cut by the service."""
        from starling_server.models.tokenizer import load_tokenizer

        base = bases.find(self.base)
        tokenizer = load_tokenizer(base)
        size, most = min(self.context, base.context), self.tokens
        trained = adapters.find(self.adapter).manifest.fim if self.adapter else None
        if trained is not None:
            size, most = trained.context_tokens, trained.max_tokens
        written = prompt_format(base.fim(tokenizer), trained)
        return Prompts(tokenizer, written, window.budget(size, most, written.sentinels))


@dataclass(frozen=True, slots=True)
class InProcess:
    """Starling's service, without a server."""

    service: Service
    tokens: int

    async def ask(self, prefix: str, suffix: str) -> Answer:
        """Request without a session, so that no answer comes from the cache."""
        request = CompleteRequest(prefix=prefix, suffix=suffix, max_tokens=self.tokens, mode="block")
        started = perf_counter()
        answer = await self.service.complete(request)
        used = answer.usage
        return Answer(
            (perf_counter() - started) * 1e3, used.completion_tokens, used.prompt_tokens,
            used.prompt_tokens - used.cached_tokens, answer.timings.decode_ms,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Llama:
    """llama-server over HTTP."""

    client: httpx2.AsyncClient
    path: str
    body: Callable[[str, str], dict[str, Any]]

    async def ask(self, prefix: str, suffix: str) -> Answer:
        """Formatting the prompt is not timed: an editor plugin would do it in another way."""
        body = self.body(prefix, suffix)
        started = perf_counter()
        answer = await llama_server.post(self.client, self.path, body)
        computed, predicted = answer["timings/prompt_n"], answer["timings/predicted_n"]
        whole = answer["tokens_cached"] - predicted + 1 if "tokens_cached" in answer else computed
        return Answer((perf_counter() - started) * 1e3, predicted, whole, computed)


@dataclass(frozen=True, slots=True)
class Generate:
    """`transformers.generate` on the whole prompt, as in a script without a server."""

    model: Any
    prompts: Prompts
    tokens: int

    async def ask(self, prefix: str, suffix: str) -> Answer:
        """Greedy; the end token is suppressed so that no answer is shorter."""
        import torch

        ids = self.prompts.ids(prefix, suffix)
        started = perf_counter()
        tensor = torch.tensor([ids], device=self.model.device)
        with torch.inference_mode():
            made = self.model.generate(
                tensor, attention_mask=torch.ones_like(tensor), do_sample=False, max_new_tokens=self.tokens,
                min_new_tokens=self.tokens,
            )  # fmt: skip
        made.tolist()  # on a GPU, waits for the result
        return Answer((perf_counter() - started) * 1e3, made.shape[1] - len(ids), len(ids), len(ids))


def opened(name: str, setting: Setting) -> AbstractContextManager[Side]:
    """The side of this name, ready for requests; entering raises ours.Missing if it is unavailable here."""
    if name in ours.RUNNERS:
        return _in_process(name, setting)
    return _generate(setting) if name == "generate" else _llama(name, setting)


@contextmanager
def _in_process(runner: str, setting: Setting) -> Generator[Side]:
    config = ours.model(setting.base, runner, ggml_type=setting.gguf_type)
    service = ours.service(
        config, setting.adapter, context_tokens=setting.context, max_tokens=setting.tokens, drafts=setting.drafts
    )
    try:
        yield InProcess(ours.endless(service), setting.tokens)
    finally:
        service.close()


@contextmanager
def _generate(setting: Setting) -> Generator[Side]:
    from starling_server.backends.torch import loading

    loaded = loading.load(ModelConfig(setting.base))
    yield Generate(loaded.model, setting.prompts(), setting.tokens)


@contextmanager
def _llama(name: str, setting: Setting) -> Generator[Side]:
    assert setting.gguf is not None
    with llama_server.serving(setting.gguf, bases.find(setting.base).context) as (url, _):
        yield llama(name, setting, httpx2.AsyncClient(base_url=url, timeout=SECONDS, trust_env=False))


def llama(name: str, setting: Setting, client: httpx2.AsyncClient) -> Llama:
    """llama.vim's request (`infill`) or Starling's ids (`raw`) to a running server."""
    prompts, tokens = setting.prompts(), setting.tokens

    def infill(prefix: str, suffix: str) -> dict[str, Any]:
        return llama_server.infill(*prompts.text(prefix, suffix), tokens)

    def raw(prefix: str, suffix: str) -> dict[str, Any]:
        return llama_server.raw(prompts.ids(prefix, suffix), tokens)

    return Llama(client, "/infill", infill) if name == "infill" else Llama(client, "/completion", raw)


def split(names: str, known: Sequence[str]) -> list[str]:
    """A comma-separated flag's values; `none` means no value."""
    found = [] if names == "none" else names.split(",")
    wrong = [name for name in found if name not in known]
    if wrong:
        raise SystemExit(f"{wrong[0]!r} is not one of {', '.join(known)} or none")
    return found
