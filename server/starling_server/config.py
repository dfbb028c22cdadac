"""Settings, one frozen dataclass per concern. Values come in at the edge and travel inward as plain arguments."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from starling_server.errors import UsageError

HERE, OPENAI = "in-process", "openai:"
"""What `--engine` says: the model in this process, or what stands before another server's address."""
Quantize = Literal["auto", "nf4", "int8", "none"]
QUANTIZE: tuple[Quantize, ...] = get_args(Quantize)
DType = Literal["auto", "bfloat16", "float16", "float32"]
DTYPES: tuple[DType, ...] = get_args(DType)
Mode = Literal["auto", "line", "block"]
RunnerName = Literal["auto", "torch", "ggml"]
RUNNERS: tuple[RunnerName, ...] = get_args(RunnerName)
GgmlType = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
"""What GGUF files hold matrices as; `gguf_export` writes no other quantised type that llama.cpp's users ask for."""
GGML_TYPES: tuple[GgmlType, ...] = get_args(GgmlType)
Rule = Literal["suffix", "bracket", "repeat"]
"""Stops that can be switched off."""
RULES: tuple[Rule, ...] = get_args(Rule)
Reason = Literal["line", "block", "suffix", "bracket", "repeat", "indent", "stop"]
"""Which stop ended a suggestion; `stop`: a text that the request names."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which base is loaded, and how."""

    base: str = "auto"
    """`auto`, `tiny`, a Hub id or a local directory."""
    quantize: Quantize = "auto"
    """`nf4` is 4 bits with double quantisation; `int8` is for serving on a CPU; `none` keeps 16 (or 32) bits; `auto`
    takes what is fast here."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    dtype: DType = "auto"
    """Compute type; `auto` is bfloat16, or float16 on GPUs and float32 on CPUs that have no such arithmetic."""
    runner: RunnerName = "auto"
    """`torch`, or `ggml`: llama.cpp, which is faster on CPUs; `auto` is torch."""
    ggml_type: GgmlType = "q4_0"
    """What the ggml runner keeps a base's matrices as, in place of `quantize` and `dtype`."""
    cuda_graphs: bool = True
    """On a CUDA GPU, replay captured steps while one sequence decodes."""
    engine: str = HERE
    """`in-process`, or `openai:URL`: another server that computes for this one."""
    upstream_model: str | None = None
    """What that server calls the base."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, naming the flag."""
        if self.engine != HERE and not re.fullmatch(rf"{OPENAI}https?://\S+", self.engine):
            raise UsageError(
                f"--engine {self.engine} names nobody: give {HERE}, or {OPENAI}http://HOST:PORT/v1 of a server that "
                "serves the same base."
            )
        if self.engine == HERE and self.upstream_model:
            raise UsageError(f"--upstream-model goes with --engine {OPENAI}URL.")


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How the engine runs one request."""

    chunk_tokens: int = 0
    """Prefill chunk; a request can be cancelled between two. 0 means 64 on CPU, 512 on GPU."""
    cache_mb: int = 512
    """Bytes of key/value cache kept between requests, in MiB."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, naming the flag."""
        if self.cache_mb < 0:
            raise UsageError("--cache-mb must be 0 (keep nothing between requests) or more.")


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What a suggestion may cost and look like."""

    max_tokens: int = 64
    """Most tokens of one suggestion, where the request names none."""
    context_tokens: int = 2048
    """Prompt and suggestion together for the bare base; an adapter's manifest says its own."""
    deadline_ms: int = 10_000
    """A request returns what it has after this time."""
    mode: Mode = "auto"
    """`line`: one line at most; `block`: up to a block's end; `auto`: by where the cursor is."""
    prefetch: bool = True
    """After an answer, compute at lowest priority what follows its acceptance."""
    drafts: bool = True
    """Guess tokens from the prompt and recent answers and check several in one forward; answers stay the same."""
    rules: tuple[Rule, ...] = RULES
    """Stops beside the mode's own."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    queue: int = 256
    """Most requests that wait for the model; 0 sets no limit."""
    adapters_mb: int = 1024
    """Memory for adapters, in MiB; the least used go. 0 sets no limit."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, naming the flag."""
        if not 1 <= self.max_tokens <= 512:
            raise UsageError("--max-tokens must lie between 1 and 512.")
        if self.context_tokens < 2 * self.max_tokens:
            raise UsageError("--context-tokens must be at least twice --max-tokens.")
        if self.deadline_ms < 1:
            raise UsageError("--deadline-ms must be at least 1.")
        if min(self.queue, self.adapters_mb) < 0:
            raise UsageError("--queue and --adapters-mb must be 0 (no limit) or more.")

    @property
    def seconds(self) -> float:
        """`deadline_ms` in seconds."""
        return self.deadline_ms / 1e3


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Who may ask over HTTP, and how much."""

    token_file: Path | None = None
    """Tokens by name (`tokens`), beside the one in STARLING_TOKEN."""
    allow_host: tuple[str, ...] = ()
    """Names that the server goes by."""
    allow_origin: tuple[str, ...] = ()
    """Web pages that may ask."""
    client_rate: float = 100.0
    """Requests a second of one client; 0 sets no limit."""
    client_concurrency: int = 64
    """Requests at once of one client; 0 sets no limit."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, naming the flag."""
        if self.client_rate < 0 or self.client_concurrency < 0:
            raise UsageError("--client-rate and --client-concurrency must be 0 (no limit) or more.")
        for origin in self.allow_origin:
            if origin == "*" or "://" not in origin or origin.endswith("/"):
                raise UsageError(f"--allow-origin {origin}: write one page's scheme, host and port, https://host:port.")
