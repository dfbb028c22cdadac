"""Options from one table: an entry says an option's values, its help, and the surfaces that have it. No torch.

The default is the config dataclass's field, and stands in an entry only where no dataclass holds the option, or where
one surface differs on purpose. `flags` makes command-line flags of the entries; `starling_lsp.options` adds those that
only the language server has. `tests/test_options.py` holds VS Code's package.json and Neovim's help to both tables.
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, get_args

from starling_server.config import (
    DTYPES,
    GGML_TYPES,
    OPENAI,
    QUANTIZE,
    RULES,
    RUNNERS,
    AccessConfig,
    EngineConfig,
    Mode,
    ModelConfig,
    ServiceConfig,
)
from starling_server.logs import LOG_FORMATS

Surface = Literal[
    "serve-copilot", "train-copilot", "eval-copilot", "starling-lsp", "initializationOptions", "vscode", "neovim"
]
"""Flags of four commands, the language server's options, VS Code's settings, and Neovim's `vim.g.starling`."""
SERVE: tuple[Surface, ...] = ("serve-copilot",)
EDITOR: tuple[Surface, ...] = ("initializationOptions",)
LSP: tuple[Surface, ...] = ("starling-lsp", *EDITOR)
BOTH: tuple[Surface, ...] = (*SERVE, *LSP)


@dataclass(frozen=True, slots=True)
class Option:
    """One option."""

    name: str
    """The dataclass's field; flags write it with `-`, editors in camelCase."""
    help: str
    """Sentences for every surface, with the unit."""
    surfaces: tuple[Surface, ...] = SERVE
    config: type[Any] | None = None
    """The dataclass whose field holds the value and gives the default; it also checks the value of a flag."""
    fallback: Any = None
    """The default where no dataclass holds the option."""
    choices: tuple[str, ...] = ()
    limits: tuple[float | None, float | None] | None = None
    """Least and greatest value that the language server and the editors take; of a flag without dataclass, too."""
    metavar: str | None = None
    path: bool = False
    multiple: bool = False
    loads: bool = False
    """A loaded model depends on it: a change in the editor loads the model again, and a shared server is started
    with it."""
    defaults: Mapping[Surface, Any] = field(default_factory=dict[Surface, Any])
    """Defaults that differ on purpose."""
    texts: Mapping[Surface, str] = field(default_factory=dict[Surface, str])
    """Help that differs on purpose."""
    names: Mapping[Surface, str] = field(default_factory=dict[Surface, str])
    """Names that differ on purpose."""
    enum_texts: tuple[str, ...] = ()
    """VS Code's description of each choice."""

    @property
    def flag(self) -> str:
        """Without the leading dashes."""
        return self.name.replace("_", "-")

    @property
    def camel(self) -> str:
        """As editors write it."""
        head, *rest = self.name.split("_")
        return head + "".join(word.capitalize() for word in rest)

    def default(self, surface: Surface) -> Any:
        """The default on this surface; None where there is none."""
        if surface in self.defaults:
            return self.defaults[surface]
        return self.fallback if self.config is None else field_default(self.config, self.name)

    def as_arguments(self, value: Any) -> tuple[str, ...]:
        """The command line that sets the flag to `value`."""
        if isinstance(value, bool):
            return (f"--{self.flag}" if value else f"--no-{self.flag}",)
        return (f"--{self.flag}", str(value))

    def text(self, surface: Surface) -> str:
        """The help on this surface."""
        return self.texts.get(surface, self.help)


def field_default(config: type[Any], name: str) -> Any:
    """The default of a dataclass's field."""
    found = next(item for item in fields(config) if item.name == name)
    return found.default if found.default_factory is MISSING else found.default_factory()


def taken_by(config: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given values that are fields of `config`."""
    return {item.name: given[item.name] for item in fields(config) if item.name in given}


def on(surface: Surface, options: Iterable[Option]) -> tuple[Option, ...]:
    """Those that the surface has."""
    return tuple(option for option in options if surface in option.surfaces)


MODEL = (
    Option(
        "base",
        "Base model: auto (the best that is fast enough here, one on this disk before others, otherwise tiny; "
        "`train-copilot bases` lists them), tiny (the bundled demonstration model), a Hugging Face Hub id such as "
        "Qwen/Qwen2.5-Coder-1.5B, a directory, or a GGUF file.",
        (*BOTH, "vscode", "neovim"),
        ModelConfig,
        loads=True,
        texts={
            "vscode": "Base model: `auto`, `tiny`, a Hugging Face Hub id, a directory or a GGUF file. Not used with "
            "the address of a running server."
        },
    ),
    Option("device", "Compute device: auto, cpu, cuda or cuda:N.", BOTH, ModelConfig, loads=True),
    Option(
        "quantize",
        "Weight format. nf4: 4 bits with double quantisation. int8: 8 bits, for serving on a CPU. none: 16 bits. auto: "
        "nf4 where it is fast on this machine, otherwise the fastest format as measured.",
        BOTH,
        ModelConfig,
        choices=QUANTIZE,
        loads=True,
    ),
)
DTYPE = (
    Option(
        "dtype",
        "Compute type of --runner torch. auto: 16 bits where they are fast, otherwise float32. In float32, output does "
        "not depend on the state of the cache; in 16 bits, near ties may resolve differently.",
        config=ModelConfig,
        choices=DTYPES,
    ),
)
RUNNER = (
    Option(
        "runner",
        "Inference backend: torch, or ggml (llama.cpp, faster on CPUs; pip install 'starling[ggml]'). auto: ggml for a "
        "GGUF file, otherwise torch.",
        (*BOTH, "vscode"),
        ModelConfig,
        choices=RUNNERS,
        loads=True,
    ),
    Option(
        "ggml_type",
        "Weight format of --runner ggml; replaces --quantize.",
        BOTH,
        ModelConfig,
        choices=GGML_TYPES,
        loads=True,
    ),
    Option(
        "cuda_graphs",
        "Decode with CUDA graphs on a CUDA GPU: faster, but uses a few hundred MiB of GPU memory.",
        BOTH,
        ModelConfig,
        loads=True,
    ),
)
ENGINE = (
    Option(
        "engine",
        f"Inference engine: in-process, or {OPENAI}http://HOST:PORT/v1 for a vLLM, SGLang or llama-server with the "
        "same base and with the adapters under their names. With a remote engine, only the tokenizer of --base is "
        "loaded. Set the engine's API key as STARLING_UPSTREAM_KEY.",
        config=ModelConfig,
    ),
    Option(
        "upstream_model",
        "Name of the base on the server of --engine. Default: the model with the base's name, or the only model.",
        config=ModelConfig,
    ),
)
SERVICE = (
    Option(
        "max_tokens",
        "Maximum tokens per suggestion.",
        (*BOTH, "vscode"),
        ServiceConfig,
        limits=(1, 512),
    ),
    Option(
        "mode",
        "Length of suggestions. line: at most one line. block: up to the end of a block. auto: decided by the cursor's "
        "position.",
        (*BOTH, "vscode"),
        ServiceConfig,
        choices=get_args(Mode),
        texts={"vscode": "Length of suggestions."},
        enum_texts=("Decided by the cursor's position.", "At most one line.", "Up to the end of a block."),
    ),
    Option(
        "context_tokens",
        "Context window in tokens, for the base without an adapter. An adapter's manifest sets its own.",
        config=ServiceConfig,
    ),
    Option(
        "repository_tokens",
        "Maximum tokens of a prompt for the pieces of other files that a request brings (context, or input_extra of "
        "/infill), at most a quarter of the prompt. 0: leave them out. Default: as many as the adapter was trained "
        "with, or 512 where the base has learnt to read other files, otherwise 0.",
        (*SERVE, "train-copilot", "eval-copilot"),
        ServiceConfig,
        limits=(0, None),
        defaults={"train-copilot": 0},
        texts={
            "train-copilot": "Maximum tokens of a prompt for pieces of other files, at most a quarter of it. They are "
            "chosen as in serving and left out of 30 % of the examples. 0: no other files; what they are worth to an "
            "adapter is not measured yet."
        },
    ),
    Option("deadline_ms", "Return partial output after this many milliseconds.", config=ServiceConfig),
    Option(
        "cache_mb",
        "Memory for the KV cache kept between requests, in MiB. 0: keep nothing.",
        BOTH,
        EngineConfig,
        limits=(0, 1 << 20),
        loads=True,
    ),
    Option(
        "prefetch",
        "Precompute the completion that follows the last suggestion, while idle.",
        BOTH,
        ServiceConfig,
        loads=True,
    ),
    Option(
        "drafts",
        "Speculative decoding with drafts from the prompt: same output, fewer steps.",
        BOTH,
        ServiceConfig,
        loads=True,
    ),
    Option(
        "foreign_prompts",
        "At /v1/completions, take fill-in-the-middle prompts apart that a client wrote for another family of models, "
        "and answer them as /complete does. Off: the base reads them as plain text.",
        config=ServiceConfig,
    ),
    Option(
        "without_stop",
        "Disable a stop rule. suffix: stop at a line that already follows the cursor. bracket: stop at a closing "
        "bracket that already follows. repeat: stop at a repeated line. May be repeated.",
        choices=RULES,
        multiple=True,
    ),
)
QUEUE = (
    Option(
        "queue",
        "Maximum number of queued requests; further requests get 503 with Retry-After. 0: no limit.",
        config=ServiceConfig,
    ),
    Option(
        "adapters_mb",
        "Memory for adapters, in MiB; the least recently used are evicted. 0: no limit.",
        config=ServiceConfig,
    ),
    Option(
        "stall_seconds",
        "Reload a model that makes no progress for this many seconds.",
        fallback=30.0,
        limits=(1, None),
    ),
)
ACCESS = (
    Option("host", "Address to listen on. Any address but loopback requires a token.", fallback="127.0.0.1"),
    Option("port", "TCP port. 0: a free port, printed at start.", fallback=8077),
    Option(
        "token_file",
        "Client tokens, one per line: name:token, or name:token:admin to also load and unload adapters. The file is "
        "re-read when it changes. A single token can be set as STARLING_TOKEN instead.",
        config=AccessConfig,
        path=True,
    ),
    Option(
        "allow_host",
        "Host name that clients may use in the Host header. May be repeated.",
        config=AccessConfig,
        metavar="NAME",
        multiple=True,
    ),
    Option(
        "allow_origin",
        "Origin of a web page that may send requests, as in https://host:port. May be repeated.",
        config=AccessConfig,
        metavar="ORIGIN",
        multiple=True,
    ),
    Option("client_rate", "Maximum requests per second and client. 0: no limit.", config=AccessConfig),
    Option("client_concurrency", "Maximum concurrent requests per client. 0: no limit.", config=AccessConfig),
)
LOGGING = (
    Option("log_format", "Log format. json: one object per line.", fallback="text", choices=LOG_FORMATS),
    Option(
        "verbose",
        "Log path, counts and times of every request, but never its text.",
        (*SERVE, "starling-lsp"),
        fallback=False,
    ),
)
OPTIONS = (*MODEL, *DTYPE, *RUNNER, *ENGINE, *SERVICE, *QUEUE, *ACCESS, *LOGGING)
