"""`serve-copilot`: the base once, any number of adapters, over HTTP."""

import asyncio
import logging
import socket
from collections.abc import Callable

import click

from starling_server import __version__, adapters
from starling_server.address import listen
from starling_server.config import (
    RULES,
    EngineConfig,
    GgmlType,
    Mode,
    ModelConfig,
    Quantize,
    Rule,
    RunnerName,
    ServiceConfig,
)
from starling_server.flags import ENGINE_FLAGS, MODEL_FLAGS, RUNNER_FLAGS, SERVICE_FLAGS, flags
from starling_server.service import Service
from starling_server.start import in_daemon_thread, start

log = logging.getLogger(__name__)
STOP_SECONDS = 5
"""How long a stopping server waits for running requests."""


@click.command(
    context_settings={"auto_envvar_prefix": "STARLING", "help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--adapter",
    "named",
    multiple=True,
    metavar="NAME_OR_DIR",
    help="Serve this adapter; may be repeated. The first is the default.",
)
@flags(MODEL_FLAGS, RUNNER_FLAGS, ENGINE_FLAGS, SERVICE_FLAGS)
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option("--port", default=8077, show_default=True, help="0 takes a free one; the line printed names it.")
@click.option("--verbose", is_flag=True, help="Log every request's path, counts and times, never its text.")
@click.version_option(__version__)
def serve_copilot(  # noqa: PLR0913, PLR0917 - one parameter per flag
    named: tuple[str, ...],
    base: str,
    device: str,
    quantize: Quantize,
    runner: RunnerName,
    ggml_type: GgmlType,
    cuda_graphs: bool,
    engine: str,
    upstream_model: str | None,
    max_tokens: int,
    mode: Mode,
    context_tokens: int,
    deadline_ms: int,
    cache_mb: int,
    prefetch: bool,
    drafts: bool,
    without_stop: tuple[Rule, ...],
    host: str,
    port: int,
    verbose: bool,
) -> None:
    """Serve suggestions over HTTP.

    The base is loaded once, in 4 bits where that is fast. Adapters trained with train-copilot for this base are all
    served, by name; those named with --adapter are loaded before the first request, and the first of them answers
    requests that name none.

    \b
    Try it:
      serve-copilot --base tiny &
      curl -s localhost:8077/complete -H 'content-type: application/json' \\
           -d '{"prefix": "def add(a, b):\\n    return "}'

    Every flag can also be set in the environment: STARLING_BASE, STARLING_PORT and so on.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("starling_server").setLevel(logging.DEBUG if verbose else logging.INFO)
    caches = EngineConfig(cache_mb=cache_mb)
    rules: tuple[Rule, ...] = tuple(rule for rule in RULES if rule not in without_stop)
    service = ServiceConfig(max_tokens, context_tokens, deadline_ms, mode, prefetch, drafts, rules, caches)
    model = ModelConfig(
        base, quantize, device, runner=runner, ggml_type=ggml_type, cuda_graphs=cuda_graphs, engine=engine,
        upstream_model=upstream_model,
    )  # fmt: skip
    served = [adapters.find(name) for name in named]
    with listen(host, port) as listener:
        asyncio.run(_serve(listener, lambda: start(model, service, served)))


async def _serve(listener: socket.socket, load: Callable[[], Service]) -> None:
    """Answer from the first moment, load beside it, announce, and serve until a signal."""
    import uvicorn

    from starling_server.http.app import create_app
    from starling_server.http.complete import Api

    api = Api()
    config = uvicorn.Config(
        create_app(api), log_level="warning", access_log=False, timeout_graceful_shutdown=STOP_SECONDS
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    loading = asyncio.wrap_future(in_daemon_thread(load))
    await asyncio.wait([serving, loading], return_when=asyncio.FIRST_COMPLETED)
    try:
        if loading.done():
            api.service = loading.result()
            click.echo(f"Listening on {_url(listener)}")
    finally:
        server.should_exit = server.should_exit or api.service is None
        await serving
        if api.service is not None:
            api.service.close()


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
