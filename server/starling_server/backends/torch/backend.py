"""A base that torch computes, ready to serve."""

from starling_server.backends.torch import loading
from starling_server.backends.torch.cuda_graphs import GraphedDecode, capturing
from starling_server.backends.torch.runner import DecodeStep, TorchRunner
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.engine.backend import Backend
from starling_server.engine.engine import Engine


def load(model: ModelConfig, service: ServiceConfig) -> Backend:
    """Load weights and tokenizer; takes seconds to minutes. Raises BaseModelError."""
    loaded = loading.load(model)
    decode: DecodeStep | None = None
    if model.cuda_graphs and loaded.device.type == "cuda":
        decode = GraphedDecode(loaded.model, loaded.base.context, capturing(loaded.device))
    runner = TorchRunner(loaded, decode)
    engine = Engine(runner, service.engine.cache_mb << 20, service.engine.chunk_tokens)
    return Backend(
        loaded.base, loaded.fingerprint, engine, loaded.tokenizer, loaded.fim, runner, device=str(loaded.device)
    )
