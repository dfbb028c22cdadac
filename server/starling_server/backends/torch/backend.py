"""A base that torch computes, ready to serve."""

from starling_server.backends.torch import cuda_graphs, loading
from starling_server.backends.torch.cuda_runner import CudaRunner
from starling_server.backends.torch.runner import TorchRunner
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.engine.backend import Backend
from starling_server.engine.engine import Engine


def load(model: ModelConfig, service: ServiceConfig) -> Backend:
    """Load weights and tokenizer; takes seconds to minutes. Raises BaseModelError."""
    loaded = loading.load(model)
    graphs = model.cuda_graphs and loaded.device.type == "cuda"
    runner = CudaRunner(loaded, cuda_graphs.capturing(loaded.device)) if graphs else TorchRunner(loaded)
    engine = Engine(runner, service.engine.cache_mb << 20, service.engine.chunk_tokens)
    return Backend(
        loaded.base, loaded.fingerprint, engine, loaded.tokenizer, loaded.fim, runner, device=str(loaded.device)
    )
