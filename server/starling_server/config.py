"""Settings, one frozen dataclass per concern. Values come in at the edge and travel inward as plain arguments."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from starling_server.errors import UsageError

HERE, OPENAI = "in-process", "openai:"
"""Values of `--engine`: the model in this process, or the prefix of another server's address."""
Quantize = Literal["auto", "nf4", "int8", "none"]
QUANTIZE: tuple[Quantize, ...] = get_args(Quantize)
DType = Literal["auto", "bfloat16", "float16", "float32"]
DTYPES: tuple[DType, ...] = get_args(DType)
Mode = Literal["auto", "line", "block"]
RunnerName = Literal["auto", "torch", "ggml"]
RUNNERS: tuple[RunnerName, ...] = get_args(RunnerName)
GgmlType = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
"""Formats of matrices in GGUF files that `gguf_export` writes."""
GGML_TYPES: tuple[GgmlType, ...] = get_args(GgmlType)
Rule = Literal["suffix", "bracket", "repeat"]
"""Stop rules that can be disabled."""
RULES: tuple[Rule, ...] = get_args(Rule)
Reason = Literal["line", "block", "suffix", "bracket", "repeat", "indent", "bytes", "stop"]
"""Stop rule that ended a suggestion; `bytes`: the model wrote some that form no character; `stop`: a stop text of the
request."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The base, its weight format and its backend."""

    base: str = "auto"
    """`auto`, `tiny`, a Hub id, a local directory or a GGUF file."""
    quantize: Quantize = "auto"
    """`nf4` is 4 bits with double quantisation; `int8` is for serving on a CPU; `none` keeps 16 (or 32) bits; `auto`
    selects the fastest format on this machine."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    dtype: DType = "auto"
    """Compute type; `auto` is bfloat16, or float16 on GPUs and float32 on CPUs that have no such arithmetic."""
    runner: RunnerName = "auto"
    """`torch`, or `ggml`: llama.cpp, which is faster on CPUs; `auto` is ggml for a GGUF file, otherwise torch."""
    ggml_type: GgmlType = "q4_0"
    """Weight format of the ggml runner, in place of `quantize` and `dtype`; a GGUF file keeps its own."""
    cuda_graphs: bool = True
    """Decode single sequences with CUDA graphs on a CUDA GPU."""
    engine: str = HERE
    """`in-process`, or `openai:URL` of a remote engine."""
    upstream_model: str | None = None
    """Name of the base on the remote engine."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, naming the flag."""
        if self.engine != HERE and not re.fullmatch(rf"{OPENAI}https?://\S+", self.engine):
            raise UsageError(
                f"--engine {self.engine} is not valid: use {HERE}, or {OPENAI}http://HOST:PORT/v1 of a server with the "
                "same base."
            )
        if self.engine == HERE and self.upstream_model:
            raise UsageError(f"--upstream-model is used only with --engine {OPENAI}URL: add --engine, or leave it out.")


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Prefill and cache of the engine."""

    chunk_tokens: int = 0
    """Prefill chunk; a request can be cancelled between two. 0 means 64 on CPU, 512 on GPU."""
    cache_mb: int = 512
    """Size of the KV cache kept between requests, in MiB; 0 keeps nothing."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, naming the flag."""
        if self.cache_mb < 0:
            raise UsageError(f"--cache-mb is {self.cache_mb}: use 0 (keep nothing between requests) or more.")


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Limits and features of suggestions."""

    max_tokens: int = 64
    """Maximum tokens per suggestion, unless the request sets it."""
    context_tokens: int = 2048
    """Prompt and suggestion together, in tokens, for the base without an adapter; a manifest sets its own."""
    repository_tokens: int | None = None
    """Maximum tokens of a prompt for other files (`context` of a request), at most a quarter of it; 0 is none, None as
    many as adapter or base have learnt (`context.block.limit`)."""
    deadline_ms: int = 10_000
    """A request returns partial output after this many milliseconds."""
    mode: Mode = "auto"
    """`line`: at most one line; `block`: up to the end of a block; `auto`: decided by the cursor's position."""
    prefetch: bool = True
    """Precompute, at lowest priority, the completion that follows an accepted suggestion."""
    drafts: bool = True
    """Speculative decoding with drafts from the prompt and recent answers; the output stays the same."""
    foreign_prompts: bool = True
    """Take raw FIM prompts in another family's spelling apart, and answer them as `/complete` does."""
    rules: tuple[Rule, ...] = RULES
    """Stop rules in addition to the mode's own."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    queue: int = 256
    """Maximum number of queued requests; 0 sets no limit."""
    adapters_mb: int = 1024
    """Memory for adapters, in MiB; the least recently used are evicted. 0 sets no limit."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, naming the flag."""
        if not 1 <= self.max_tokens <= 512:
            raise UsageError(f"--max-tokens is {self.max_tokens}: use a number between 1 and 512.")
        if self.context_tokens < 2 * self.max_tokens:
            raise UsageError(
                f"--context-tokens is {self.context_tokens} and --max-tokens {self.max_tokens}: use "
                "at least twice --max-tokens."
            )
        if self.deadline_ms < 1:
            raise UsageError(f"--deadline-ms is {self.deadline_ms}: use 1 or more.")
        if self.repository_tokens is not None and self.repository_tokens < 0:
            raise UsageError(
                f"--repository-tokens is {self.repository_tokens}: use 0 (no other files in prompts) or more."
            )
        if min(self.queue, self.adapters_mb) < 0:
            raise UsageError(f"--queue is {self.queue} and --adapters-mb {self.adapters_mb}: use 0 (no limit) or more.")

    @property
    def seconds(self) -> float:
        """`deadline_ms` in seconds."""
        return self.deadline_ms / 1e3


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Access over HTTP: tokens, names and rate limits."""

    token_file: Path | None = None
    """Named tokens (`auth.TokenStore`), in addition to STARLING_TOKEN."""
    allow_host: tuple[str, ...] = ()
    """Host names that clients may use."""
    allow_origin: tuple[str, ...] = ()
    """Origins of web pages that may send requests."""
    client_rate: float = 100.0
    """Maximum requests per second and client; 0 sets no limit."""
    client_concurrency: int = 64
    """Maximum concurrent requests per client; 0 sets no limit."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, naming the flag."""
        if self.client_rate < 0 or self.client_concurrency < 0:
            raise UsageError(
                f"--client-rate is {self.client_rate:g} and --client-concurrency "
                f"{self.client_concurrency}: use 0 (no limit) or more."
            )
        for origin in self.allow_origin:
            if origin == "*" or "://" not in origin or origin.endswith("/"):
                raise UsageError(
                    f"--allow-origin {origin}: write the scheme, host and port of one page, as in https://host:port."
                )
