"""`starling-lsp`: the language server's command line."""

import logging
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click
from click.core import ParameterSource

from starling_lsp.options import CHOICES, RANGES
from starling_server import __version__
from starling_server import flags as shared
from starling_server.errors import UsageError
from starling_server.listen import check_loopback
from starling_server.logs import Escaping

MOST_TOKENS, WAIT, CACHE = (click.IntRange(*RANGES[name]) for name in ("max_tokens", "debounce", "cache_mb"))


@click.command(
    context_settings={
        "auto_envvar_prefix": "STARLING",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    }
)
@click.option(
    "--server",
    metavar="URL|auto",
    help="Ask a running serve-copilot instead of loading a model here. auto: the one that all editors of this user "
    "share; it is started when it is needed, and ends after a quarter of an hour without a request.",
)
@click.option("--token-file", metavar="FILE", help="Holds the token for --server; or set STARLING_TOKEN.")
@click.option("--base", default="auto", show_default=True, help="Base model, as for serve-copilot.")
@click.option("--adapter", metavar="NAME_OR_DIR", help="Adapter; by default the one trained on the workspace.")
@click.option("--mode", type=click.Choice(CHOICES["mode"]), default="auto", show_default=True, help="Line or block.")
@click.option("--max-tokens", type=MOST_TOKENS, default=64, show_default=True, help="Most tokens of one suggestion.")
@click.option(
    "--debounce", type=WAIT, default=-1, show_default=True, help="Milliseconds to wait for another key; -1: by editor."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--quantize", type=click.Choice(CHOICES["quantize"]), default="auto", show_default=True, help="4 bits?")
@shared.flags(shared.RUNNER_FLAGS)
@click.option(
    "--cache-mb", type=CACHE, default=512, show_default=True, help="Memory for keys and values between requests."
)
@click.option("--prefetch/--no-prefetch", default=True, show_default=True, help="Look ahead while idle.")
@click.option("--drafts/--no-drafts", default=True, show_default=True, help="Guess tokens, check several at once.")
@click.option("--warm/--no-warm", default=True, show_default=True, help="Read ahead where the cursor rests.")
@click.option("--tcp", metavar="HOST:PORT", help="Serve one editor over TCP instead of stdio.")
@click.option("--log-file", type=click.Path(path_type=Path), help="Write the log here instead of to stderr.")
@click.option("--verbose", is_flag=True, help="Log every request's path, counts and times, never its text.")
@click.version_option(__version__)
@click.pass_context
def starling_lsp(context: click.Context, tcp: str | None, log_file: Path | None, verbose: bool, **flags: Any) -> None:
    """Language server for inline completion (ghost text), over stdio.

    Loads the base and the workspace's adapter in this process, or asks a running server:

    \b
      starling-lsp --base tiny
      starling-lsp --server auto
      starling-lsp --server http://127.0.0.1:8077

    `starling-lsp stats` shows what became of suggestions. Editors start the server by themselves; see
    editor-configs/. Flags go before the editor's own options.
    """
    _log_to(log_file, verbose)
    address = _address(tcp) if tcp else None
    given = {name: flags[name] for name in flags if context.get_parameter_source(name) != ParameterSource.DEFAULT}
    from starling_lsp.handlers import create_server

    server = create_server(given)
    if address is None:
        server.start_io(stdout=_own_stdout())
        return
    try:
        server.start_tcp(*address)
    except OSError as error:
        raise UsageError(f"Cannot listen on {tcp} ({error}): choose another port for --tcp.") from error


def _log_to(path: Path | None, verbose: bool) -> None:
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    try:
        logging.basicConfig(filename=path, level=logging.WARNING)
    except OSError as error:
        raise UsageError(f"Cannot write the log to {path} ({error.strerror}): name another --log-file.") from error
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Escaping(form))
    for ours in ("starling_lsp", "starling_server"):  # not pygls, which logs whole messages and thereby code
        logging.getLogger(ours).setLevel(logging.DEBUG if verbose else logging.INFO)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--tcp {text}: write HOST:PORT, such as 127.0.0.1:9257.")
    check_loopback(host)
    return host, int(port)


def _own_stdout() -> BinaryIO:
    """The protocol's stream: from here on, whatever a library prints goes to stderr instead of into it."""
    own = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return own
