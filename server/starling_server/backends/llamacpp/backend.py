"""Loads a base for serving with llama.cpp. No torch."""

from starling_server.backends.llamacpp import bindings, loading
from starling_server.backends.llamacpp.runner import GgmlRunner
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.engine.backend import Backend
from starling_server.engine.engine import Engine


def load(model: ModelConfig, service: ServiceConfig) -> Backend:
    """Export the base to GGUF unless that was done before, and load it.

    The memory of all caches is allocated here, and the share that running requests need is reserved for them. Raises
    BaseModelError, OutputError, and UsageError if llama.cpp is not installed.
    """
    bindings.api()  # fails before the export if llama.cpp is missing
    loaded = loading.load(model)
    cache_bytes = service.engine.cache_mb << 20
    runner = GgmlRunner(loaded, cache_bytes, service.context_tokens)
    engine = Engine(runner, min(runner.spare_bytes, cache_bytes), service.engine.chunk_tokens)
    return Backend(
        loaded.base, loaded.fingerprint, engine, loaded.tokenizer, loaded.fim, runner, device="cpu (llama.cpp)"
    )
