"""From configuration to a running service: the one place where torch comes in, and late."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from starling_server.completion.service import Service
from starling_server.config import HERE, ModelConfig, ServiceConfig
from starling_server.errors import UsageError
from starling_server.models.adapters import Adapter

log = logging.getLogger(__name__)


def start(model: ModelConfig, service: ServiceConfig, served: Sequence[Adapter] = ()) -> Service:
    """Load the base and the adapters in `served`, the first being the default; takes seconds to minutes.

    Raises BaseModelError, AdapterError; UsageError where the runner's packages are missing.
    """
    from starling_server.completion.service import Model
    from starling_server.engine.engine import Engine
    from starling_server.engine.protocols import Feed
    from starling_server.models.adapter_registry import Shelf

    if model.base == "auto" and served:
        model = replace(model, base=served[0].manifest.base.id)
        log.info("base %s: the one that adapter %s was trained on", model.base, served[0].name)
    if model.engine != HERE:
        from starling_server.backends.openai.loading import start_relay

        return start_relay(model, service, served)
    loaded, runner, cache_bytes, sampling = (_ggml if model.runner == "ggml" else _torch)(model, service)
    engine = Engine(runner, cache_bytes, service.engine.chunk_tokens)
    most = service.adapters_mb << 20
    shelf = Shelf(runner, loaded.base.id, loaded.fingerprint, loaded.fim.family, most, engine.pool.forget)
    for adapter in served:
        shelf.take(adapter)
    shelf.default = served[0].name if served else None
    first = runner.open(None)
    for count in (1, 1, 1 + runner.draft):  # it prepares kernels and captures steps; nobody should wait for that
        runner.feed([Feed(first, [loaded.fim.prefix] * count)])
    runner.close(first)
    sampler, likelihoods, device = sampling.sampler, sampling.likelihoods, _device(loaded)
    known = Model(loaded.base.id, engine, loaded.tokenizer, loaded.fim, shelf, sampler, device, likelihoods)
    return Service(known, service)


def _device(loaded: Any) -> str:
    """Torch's device, or what llama.cpp computes on."""
    return str(getattr(loaded, "device", "cpu (llama.cpp)"))


def _torch(model: ModelConfig, service: ServiceConfig) -> tuple[Any, Any, int, Any]:
    """What is loaded, its runner, bytes of kept caches, what reads its logits."""
    from starling_server.backends.torch import cuda_graphs, loading, sampling
    from starling_server.backends.torch.cuda_runner import CudaRunner
    from starling_server.backends.torch.runner import TorchRunner

    loaded = loading.load(model)
    graphs = model.cuda_graphs and loaded.device.type == "cuda"
    runner = CudaRunner(loaded, cuda_graphs.capturing(loaded.device)) if graphs else TorchRunner(loaded)
    return loaded, runner, service.engine.cache_mb << 20, sampling


def _ggml(model: ModelConfig, service: ServiceConfig) -> tuple[Any, Any, int, Any]:
    """The same without torch; the caches' memory is all taken now, and what running requests need is left to them."""
    try:
        from starling_server.backends.llamacpp import bindings
        from starling_server.backends.llamacpp import loading as loading_ggml
        from starling_server.backends.llamacpp import sampling as sampling_numpy
        from starling_server.backends.llamacpp.runner import GgmlRunner

        bindings.api()  # before anything is exported for it
    except ModuleNotFoundError as error:
        raise UsageError(f"--runner ggml needs the package {error.name}: pip install 'starling[ggml]'") from error
    loaded = loading_ggml.load(model)
    runner = GgmlRunner(loaded, service.engine.cache_mb << 20, service.context_tokens)
    return loaded, runner, min(runner.spare_bytes, service.engine.cache_mb << 20), sampling_numpy


def in_daemon_thread(load: Callable[[], Service]) -> "Future[Service]":
    """Run `load` in a thread that does not hold up the end of the process, and ends itself.

    OpenMP keeps helpers for every live thread that ever computed, and lets none spin once there are more of them than
    cores: beside a main thread that had computed, a token took 5.8 ms in the service's thread instead of 1.2 (bundled
    base, ggml runner, two cores; docs/experiments.md, "Threads that wait").
    """
    future: Future[Service] = Future()

    def work() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(load())
        except BaseException as error:  # handed to whoever waits
            future.set_exception(error)

    threading.Thread(target=work, name="starling-load", daemon=True).start()
    return future
