"""`serve-copilot`: the base once, any number of adapters, over HTTP."""

import os
import socket
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from starling_server import __version__, auth, logs, server_record
from starling_server.auth import TokenStore
from starling_server.config import RULES, AccessConfig, EngineConfig, ModelConfig, Rule, ServiceConfig
from starling_server.flags import (
    ACCESS_FLAGS,
    DTYPE_FLAGS,
    ENGINE_FLAGS,
    LOG_FLAGS,
    MODEL_FLAGS,
    QUEUE_FLAGS,
    RUNNER_FLAGS,
    SERVICE_FLAGS,
    flags,
)
from starling_server.listen import is_loopback, listen, url
from starling_server.models import adapters
from starling_server.serve import settings
from starling_server.serve.start import start


@click.command(
    context_settings={"auto_envvar_prefix": "STARLING", "help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--adapter",
    multiple=True,
    metavar="NAME_OR_DIR",
    help="Serve this adapter; may be repeated. The first is the default.",
)
@flags(MODEL_FLAGS, DTYPE_FLAGS, RUNNER_FLAGS, ENGINE_FLAGS, SERVICE_FLAGS, QUEUE_FLAGS, ACCESS_FLAGS, LOG_FLAGS)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    callback=settings.take_file,
    help=f"Settings in TOML, by the names of these flags. By default {settings.CONFIG} in the user's configuration "
    "folder, where there is one.",
)
@click.option("--idle-minutes", default=0.0, show_default=True, help="End after so long without a request; 0: never.")
@click.option("--announce", type=click.Path(path_type=Path), hidden=True, help="Write address and token to this file.")
@click.option("--print-config", is_flag=True, help="Print every setting and where it came from, and end.")
@click.version_option(__version__)
@click.pass_context
def serve_copilot(context: click.Context, **given: Any) -> int:
    """Serve suggestions over HTTP.

    The base is loaded once, in 4 bits where that is fast. Adapters trained with train-copilot for this base are all
    served, by name; those named with --adapter are loaded before the first request, and the first of them answers
    requests that name none.

    \b
    Try it:
      serve-copilot --base tiny &
      curl -s localhost:8077/complete -H 'content-type: application/json' \\
           -d '{"prefix": "def add(a, b):\\n    return "}'

    Only this machine may ask, unless --host says otherwise; that takes tokens. Every flag can also be set in the
    environment (STARLING_BASE, STARLING_PORT and so on) and in a file (--config); flags go first, then the environment.
    """
    if given["print_config"]:
        return _print(context)
    logs.set_up(given["log_format"], given["verbose"])
    model, service, access = _model(given), _service(given), _access(given)
    keys = TokenStore(os.environ.get(auth.TOKEN), access.token_file)
    served = [adapters.find(name) for name in given["adapter"]]
    with listen(given["host"], given["port"], not keys.empty) as listener, _announced(given["announce"], listener):
        from starling_server.serve.server import Serving

        if not is_loopback(given["host"]):
            click.echo("Tokens and code cross the network unencrypted: put TLS in front (SECURITY.md).", err=True)
        idle_seconds = 60 * given["idle_minutes"]
        serving = Serving(lambda: start(model, service, served), keys, access, given["stall_seconds"], idle_seconds)
        return serving.run(listener)


def _announced(path: Path | None, listener: socket.socket) -> AbstractContextManager[None]:
    """Let editors of this user find the server while it runs."""
    if path is None:
        return nullcontext()
    token = os.environ.get(auth.TOKEN, "")
    record = server_record.Running(version=__version__, pid=os.getpid(), url=url(listener), token=token)
    return server_record.announced(path, record)


def _print(context: click.Context) -> int:
    """Every setting, as a file that --config takes."""
    for line in settings.as_toml(settings.settings(context)):
        click.echo(line)
    click.echo(f"# {auth.TOKEN} is {'' if os.environ.get(auth.TOKEN) else 'not '}set")
    return 0


def _model(given: dict[str, Any]) -> ModelConfig:
    return ModelConfig(
        given["base"],
        given["quantize"],
        given["device"],
        given["dtype"],
        runner=given["runner"],
        ggml_type=given["ggml_type"],
        cuda_graphs=given["cuda_graphs"],
        engine=given["engine"],
        upstream_model=given["upstream_model"],
    )


def _service(given: dict[str, Any]) -> ServiceConfig:
    names = ("max_tokens", "context_tokens", "deadline_ms", "mode", "prefetch", "drafts", "queue", "adapters_mb")
    rules: tuple[Rule, ...] = tuple(rule for rule in RULES if rule not in given["without_stop"])
    return ServiceConfig(rules=rules, engine=EngineConfig(cache_mb=given["cache_mb"]), **_some(given, *names))


def _access(given: dict[str, Any]) -> AccessConfig:
    return AccessConfig(**_some(given, "token_file", "allow_host", "allow_origin", "client_rate", "client_concurrency"))


def _some(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names}
