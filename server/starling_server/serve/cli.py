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
from starling_server.flags import flags, made
from starling_server.listen import is_loopback, listen, url
from starling_server.models import adapters
from starling_server.options import OPTIONS, taken_by
from starling_server.serve import settings
from starling_server.serve.start import start


@click.command(
    context_settings={"auto_envvar_prefix": "STARLING", "help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--adapter",
    multiple=True,
    metavar="NAME_OR_DIR",
    help="Adapter to load at start. May be repeated; the first is the default.",
)
@flags(made(OPTIONS))
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    callback=settings.take_file,
    help=f"TOML file with settings, named like these flags. Default: {settings.CONFIG} in the user's configuration "
    "folder, if it exists.",
)
@click.option(
    "--idle-minutes", default=0.0, show_default=True, help="Exit after this many minutes without a request. 0: never."
)
@click.option(
    "--announce", type=click.Path(path_type=Path), hidden=True, help="Write the address and the token to this file."
)
@click.option("--print-config", is_flag=True, help="Print every setting and its origin, then exit.")
@click.version_option(__version__)
@click.pass_context
def serve_copilot(context: click.Context, **given: Any) -> int:
    """Serve suggestions over HTTP.

    The base is loaded once, in 4 bits where that is fast. All adapters that train-copilot made for this base are
    served by name. Adapters given with --adapter are loaded at start, and the first of them is the default for
    requests without an adapter.

    \b
    Try it:
      serve-copilot --base tiny &
      curl -s localhost:8077/complete -H 'content-type: application/json' \\
           -d '{"prefix": "def add(a, b):\\n    return "}'

    The server listens on loopback unless --host says otherwise; any other address requires a token. Every flag can
    also be set in the environment (STARLING_BASE, STARLING_PORT and so on) or in a file (--config). Flags take
    precedence over the environment, and the environment over the file.
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
    """Register the server for this user's editors while it runs."""
    if path is None:
        return nullcontext()
    token = os.environ.get(auth.TOKEN, "")
    record = server_record.Running(version=__version__, pid=os.getpid(), url=url(listener), token=token)
    return server_record.announced(path, record)


def _print(context: click.Context) -> int:
    """Print every setting, as a file that --config reads."""
    for line in settings.as_toml(settings.settings(context)):
        click.echo(line)
    click.echo(f"# {auth.TOKEN} is {'' if os.environ.get(auth.TOKEN) else 'not '}set")
    return 0


def _model(given: dict[str, Any]) -> ModelConfig:
    return ModelConfig(**taken_by(ModelConfig, given))


def _service(given: dict[str, Any]) -> ServiceConfig:
    rules: tuple[Rule, ...] = tuple(rule for rule in RULES if rule not in given["without_stop"])
    own: dict[str, Any] = {"rules": rules, "engine": EngineConfig(**taken_by(EngineConfig, given))}
    return ServiceConfig(**(taken_by(ServiceConfig, given) | own))


def _access(given: dict[str, Any]) -> AccessConfig:
    return AccessConfig(**taken_by(AccessConfig, given))
