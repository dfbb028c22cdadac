"""Our side of every comparison: a service in this process, or `serve-copilot` as a process of its own.

As a script this is `serve-copilot` with the same flags, whose answers end at --max-tokens and nowhere else.
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
"""No request of a benchmark is cut short by a clock."""


class Missing(Exception):
    """A side cannot be measured here; the sentence says why."""


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
    """A service that looks ahead to nothing and hurries for nobody; `values` are fields of ServiceConfig.

    Loaded as the commands do it: in a thread that ends.
    """
    settings = replace(ServiceConfig(prefetch=False, deadline_ms=PATIENCE_MS), **values)
    return in_daemon_thread(lambda: start(config, settings, served(adapter))).result()


def endless(service: Service) -> Service:
    """The same service, where nothing but --max-tokens ends an answer: all sides then give equally many tokens.

    Stop ids become ordinary ids. Stop rules of the text are looked at no more, in the whole process.
    """
    backend = replace(service.backend, fim=replace(service.backend.fim, stops=frozenset()))
    service.completer = replace(service.completer, backend=backend)
    stops.first = _no_stop
    return service


def _no_stop(*_: object) -> None:
    """No rule says stop."""


@contextmanager
def serving(*flags: str) -> Generator[tuple[str, int]]:
    """Address and process id of a `serve-copilot` whose answers are endless."""
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
