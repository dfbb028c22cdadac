"""`starling-lsp`: the language server's command line."""

import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click
from click.core import ParameterSource

from starling_lsp.options import OPTIONS
from starling_server import __version__
from starling_server.errors import UsageError
from starling_server.flags import flags, made
from starling_server.listen import check_loopback
from starling_server.logs import Escaping
from starling_server.options import LOGGING


@click.command(
    context_settings={
        "auto_envvar_prefix": "STARLING",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    }
)
@flags(made(OPTIONS, "starling-lsp"))
@click.option("--tcp", metavar="HOST:PORT", help="Serve one editor over TCP, on loopback, instead of stdio.")
@click.option("--log-file", type=click.Path(path_type=Path), help="Write the log to this file instead of stderr.")
@flags(made(LOGGING, "starling-lsp"))
@click.version_option(__version__)
@click.pass_context
def starling_lsp(context: click.Context, tcp: str | None, log_file: Path | None, verbose: bool, **values: Any) -> None:
    """Language server for inline completion (ghost text), over stdio.

    The base and the workspace's adapter are loaded in this process, or a running server is used:

    \b
      starling-lsp --base tiny
      starling-lsp --server auto
      starling-lsp --server http://127.0.0.1:8077

    `starling-lsp stats` shows how many suggestions were accepted. Editors start the language server themselves; see
    editor-configs/. Flags take precedence over the editor's options.
    """
    _log_to(log_file, verbose)
    address = _address(tcp) if tcp else None
    given = {name: values[name] for name in values if context.get_parameter_source(name) != ParameterSource.DEFAULT}
    from starling_lsp.handlers import create_server

    server = create_server(given)
    if address is None:
        server.start_io(stdout=_own_stdout())
    else:
        server.start_io(*_one_editor(address))


def _one_editor(address: tuple[str, int]) -> tuple[BinaryIO, BinaryIO]:
    """The streams of the first connection; later ones are refused. Raises UsageError if the address is taken."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family)
    except OSError as error:
        host, port = address
        raise UsageError(f"Cannot listen on {host}:{port} ({error}): choose another port for --tcp.") from error
    with listener:
        connection, _ = listener.accept()
    return connection.makefile("rb"), connection.makefile("wb")


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
    """The protocol's stream. From now on, stdout of libraries goes to stderr instead."""
    own = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return own
