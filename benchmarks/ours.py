"""Starling's side of every comparison: a service in this process, or `serve-copilot` as a process of its own.

As a script this is `serve-copilot` with the same flags, with answers that end only at --max-tokens.
"""

import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from starling_server.completion.service import Service
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.models import adapters
from starling_server.models.adapters import Adapter
from starling_server.postprocess import stops
from starling_server.serve.start import in_daemon_thread, start

RUNNERS = ("torch", "ggml")
PATIENCE_MS = 600_000
"""Time limit long enough that no benchmark request is cut short."""


class Missing(Exception):
    """A side cannot be measured here; the message is the reason."""


def model(base: str, runner: str, **values: Any) -> ModelConfig:
    """How to load `base` for a runner; raises Missing."""
    config = replace(ModelConfig(base), runner=runner, **values)
    if runner == "ggml" and not find_spec("llama_cpp"):
        raise Missing("the ggml runner needs the package llama-cpp-python: make ggml")
    return config


def served(named: str | None) -> list[Adapter]:
    """The adapter of this name, or none."""
    return [adapters.find(named)] if named else []


def service(config: ModelConfig, adapter: str | None = None, **values: Any) -> Service:
    """A service without look-ahead and deadlines; `values` are fields of ServiceConfig.

    Loaded as in the commands: in a thread that ends.
    """
    settings = replace(ServiceConfig(prefetch=False, deadline_ms=PATIENCE_MS), **values)
    return in_daemon_thread(lambda: start(config, settings, served(adapter))).result()


def endless(service: Service) -> Service:
    """The same service with answers that end only at --max-tokens, so that all sides produce the same number of tokens.

    Stop ids become ordinary ids. Text stop rules are disabled in the whole process.
    """
    backend = replace(service.backend, fim=replace(service.backend.fim, stops=frozenset()))
    service.completer = replace(service.completer, backend=backend)
    stops.first = _no_stop
    return service


def _no_stop(*_: object) -> None:
    """A stop rule that never stops."""


@contextmanager
def serving(*flags: str) -> Generator[tuple[str, int]]:
    """Address and process id of a `serve-copilot` with endless answers."""
    command = [sys.executable, __file__, "--port", "0", "--deadline-ms", str(PATIENCE_MS), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said.startswith("Listening on "):
                raise Missing(f"serve-copilot {' '.join(flags)} did not start")
            yield said.removeprefix("Listening on ").strip(), process.pid
        finally:
            process.terminate()


def flags(runner: str, **wanted: str) -> Sequence[str]:
    """Command-line flags for a runner; one without a value is a switch."""
    pairs = {"--runner": runner, **{f"--{name.replace('_', '-')}": value for name, value in wanted.items()}}
    return [part for name, value in pairs.items() for part in ([name, value] if value else [name])]


def main() -> None:
    from starling_server.command import run
    from starling_server.serve import cli

    def start_endless(model: ModelConfig, service: ServiceConfig, served: Sequence[Adapter] = ()) -> Service:
        return endless(start(model, service, served))

    cli.start = start_endless
    run("serve-copilot", "starling_server.serve.cli:serve_copilot", extra="server")


if __name__ == "__main__":
    main()
