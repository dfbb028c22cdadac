"""From configuration to a running service: the one place where a backend is chosen, and torch comes in late."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from importlib.util import find_spec

from starling_server.completion.service import Service
from starling_server.config import HERE, ModelConfig, RunnerName, ServiceConfig
from starling_server.engine.backend import Backend
from starling_server.errors import UsageError
from starling_server.models import bases
from starling_server.models.adapter_memory import AdapterMemory
from starling_server.models.adapter_registry import AdapterRegistry
from starling_server.models.adapters import Adapter
from starling_server.models.catalogue import auto

log = logging.getLogger(__name__)


def start(model: ModelConfig, service: ServiceConfig, served: Sequence[Adapter] = ()) -> Service:
    """Load the base and the adapters in `served`, the first being the default; takes seconds to minutes.

    Raises BaseModelError, AdapterError; UsageError where the backend's packages are missing.
    """
    if model.base == "auto" and served:
        model = replace(model, base=served[0].manifest.base.id)
        log.info("base %s: the one that adapter %s was trained on", model.base, served[0].name)
    if model.engine == HERE:
        model = replace(model, base=auto.named(model.base, _gpu_bytes(model)))
    backend = _load(model, service, served)
    memory = AdapterMemory(backend.adapters, service.adapters_mb << 20, backend.engine.forget)
    kin = bases.kin(backend.base) if backend.fingerprint else None
    registry = AdapterRegistry(
        memory, backend.id, backend.fingerprint, backend.fim.family, kin, bases.is_gguf(backend.base.id)
    )
    for adapter in served:
        registry.take(adapter)
    registry.default = served[0].name if served else None
    backend.engine.warm_up(backend.fim.prefix)
    return Service(backend, registry, service)


def _load(model: ModelConfig, service: ServiceConfig, served: Sequence[Adapter]) -> Backend:
    """The backend that the configuration names; its packages are imported here."""
    if model.engine != HERE:
        from starling_server.backends.openai import backend as openai

        return openai.load(model, served)
    if _runner(model) == "ggml":
        try:
            from starling_server.backends.llamacpp import backend as llamacpp

            return llamacpp.load(model, service)
        except ModuleNotFoundError as error:
            raise UsageError(f"--runner ggml needs the package {error.name}: pip install 'starling[ggml]'") from error
    from starling_server.backends.torch import backend as torch

    return torch.load(model, service)


def _gpu_bytes(model: ModelConfig) -> int:
    """Memory of the GPU that `--base auto` may count on; 0 without one. torch is imported only where one may be."""
    if model.base != auto.AUTO or model.runner == "ggml" or model.device == "cpu":
        return 0
    if not auto.may_have_gpu() or find_spec("torch") is None:
        return 0
    from starling_server.backends.torch import device

    return device.gpu_bytes()


def _runner(model: ModelConfig) -> RunnerName:
    """The runner; `auto` is ggml for a GGUF file where llama.cpp is installed, and torch otherwise."""
    if model.runner != "auto":
        return model.runner
    if not bases.is_gguf(model.base):
        return "torch"
    if find_spec("llama_cpp") is not None:
        return "ggml"
    log.warning("llama.cpp, which computes a GGUF file as it is, is not installed: pip install 'starling[ggml]'")
    return "torch"


def in_daemon_thread(load: Callable[[], Service]) -> "Future[Service]":
    """Run `load` in a daemon thread of its own, which ends when `load` returns.

    OpenMP keeps helpers for every live thread that ever computed, and lets none spin once there are more of them than
    cores: beside a main thread that had computed, a token took 5.8 ms in the service's thread instead of 1.2 (bundled
    base, ggml runner, two cores; docs/experiments.md, "Threads that wait").
    """
    future: Future[Service] = Future()

    def work() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(load())
        except BaseException as error:  # raised to the waiting caller
            future.set_exception(error)

    threading.Thread(target=work, name="starling-load", daemon=True).start()
    return future
