"""Command-line flags that more than one command has, so that they read the same everywhere. No torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from starling_server.config import DTYPES, GGML_TYPES, HERE, OPENAI, QUANTIZE, RULES, RUNNERS
from starling_server.logs import LOG_FORMATS

Command = Callable[..., Any]

MODEL_FLAGS = (
    click.option(
        "--base",
        default="auto",
        show_default=True,
        help="Base model: auto (the largest StarCoder that fits this GPU, else tiny), tiny (the bundled "
        "demonstration model), a Hub id such as bigcode/starcoder2-3b, or a directory.",
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
    click.option(
        "--quantize",
        type=click.Choice(QUANTIZE),
        default="auto",
        show_default=True,
        help="nf4: 4 bits with double quantisation. int8: 8 bits, to serve on a CPU. none: 16 bits. auto: nf4 where "
        "this machine runs it fast, else what is measured to be fastest.",
    ),
)
DTYPE_FLAGS = (
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="auto",
        show_default=True,
        help="What --runner torch computes in. auto: 16 bits where this machine is fast in them. In float32 an answer "
        "does not depend on what earlier requests left in the cache; in 16 bits a near tie may.",
    ),
)
RUNNER_FLAGS = (
    click.option(
        "--runner",
        type=click.Choice(RUNNERS),
        default="auto",
        show_default=True,
        help="What computes: torch, or ggml (llama.cpp, faster on CPUs; pip install 'starling[ggml]'). auto: torch.",
    ),
    click.option(
        "--ggml-type",
        type=click.Choice(GGML_TYPES),
        default="q4_0",
        show_default=True,
        help="How --runner ggml stores the base, in place of --quantize.",
    ),
    click.option(
        "--cuda-graphs/--no-cuda-graphs",
        default=True,
        show_default=True,
        help="On a CUDA GPU, capture decoding steps once and replay them: faster, for some hundred MB of memory.",
    ),
)
ENGINE_FLAGS = (
    click.option(
        "--engine",
        default=HERE,
        show_default=True,
        help=f"Who computes: this process, or {OPENAI}http://HOST:PORT/v1, a vLLM, SGLang or llama-server that has the "
        "same base and the adapters under their names. Only the tokenizer of --base is then read here. A key for it "
        "goes into STARLING_UPSTREAM_KEY.",
    ),
    click.option(
        "--upstream-model",
        help="What the server of --engine calls the base; by default its model of that name, or its only one.",
    ),
)
SERVICE_FLAGS = (
    click.option("--max-tokens", default=64, show_default=True, help="Most tokens of one suggestion."),
    click.option(
        "--mode",
        type=click.Choice(["auto", "line", "block"]),
        default="auto",
        show_default=True,
        help="Suggest one line, a block, or what the cursor's place calls for.",
    ),
    click.option("--context-tokens", default=2048, show_default=True, help="Window of the bare base, in tokens."),
    click.option("--deadline-ms", default=10_000, show_default=True, help="Answer with what is there after this time."),
    click.option("--cache-mb", default=512, show_default=True, help="Memory for keys and values between requests."),
    click.option(
        "--prefetch/--no-prefetch",
        default=True,
        show_default=True,
        help="While idle, compute what follows the last suggestion's acceptance.",
    ),
    click.option(
        "--drafts/--no-drafts",
        default=True,
        show_default=True,
        help="Guess tokens from the prompt and check several at once: same answers, fewer steps.",
    ),
    click.option(
        "--without-stop",
        type=click.Choice(RULES),
        multiple=True,
        help="Do not end a suggestion at a line that follows already (suffix), at a closing bracket that is there "
        "already (bracket), or where it repeats a line (repeat). May be repeated.",
    ),
)

QUEUE_FLAGS = (
    click.option(
        "--queue", default=256, show_default=True, help="Most requests that wait; more are told to come back. 0: any."
    ),
    click.option("--adapters-mb", default=1024, show_default=True, help="Memory for adapters; the least used go."),
    click.option(
        "--stall-seconds",
        type=click.FloatRange(min=1),
        default=30.0,
        show_default=True,
        help="A model that is silent for so long hangs: it is loaded again.",
    ),
)
ACCESS_FLAGS = (
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need tokens."),
    click.option("--port", default=8077, show_default=True, help="0 takes a free one; the line printed names it."),
    click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        help="Who may ask: lines name:token, or name:token:admin to load and unload adapters too. Read again when it "
        "changes. One token may also stand in the environment, as STARLING_TOKEN.",
    ),
    click.option("--allow-host", multiple=True, metavar="NAME", help="A name that this server goes by in `Host`."),
    click.option("--allow-origin", multiple=True, metavar="ORIGIN", help="A web page that may ask, https://host:port."),
    click.option("--client-rate", default=100.0, show_default=True, help="Requests a second of one client. 0: any."),
    click.option("--client-concurrency", default=64, show_default=True, help="Requests at once of one client. 0: any."),
)
LOG_FLAGS = (
    click.option(
        "--log-format",
        type=click.Choice(LOG_FORMATS),
        default="text",
        show_default=True,
        help="json: an object a line.",
    ),
    click.option("--verbose", is_flag=True, help="Log every request's path, counts and times, never its text."),
)


def flags(*groups: tuple[Command, ...]) -> Command:
    """A decorator that adds all flags of `groups`, in order."""

    def add(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add
