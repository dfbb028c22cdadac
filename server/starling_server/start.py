"""From configuration to a running service: the one place where torch comes in, and late."""

from collections.abc import Sequence

from starling_server.adapters import Adapter
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.service import Service


def start(model: ModelConfig, service: ServiceConfig, served: Sequence[Adapter] = ()) -> Service:
    """Load the base and the adapters in `served`, the first being the default; takes seconds to minutes.

    Raises BaseModelError, AdapterError.
    """
    from starling_server import loading
    from starling_server.engine import Engine
    from starling_server.runner_torch import TorchRunner
    from starling_server.sampling import sampler
    from starling_server.service import Model
    from starling_server.shelf import Shelf

    loaded = loading.load(model)
    runner = TorchRunner(loaded)
    shelf = Shelf(runner, loaded.base.id, loaded.fingerprint, loaded.fim.family)
    for adapter in served:
        shelf.ready(shelf.add(adapter))
    shelf.default = served[0].name if served else None
    engine = Engine(runner, service.engine.cache_mb << 20, service.engine.chunk_tokens)
    return Service(Model(loaded.base.id, engine, loaded.tokenizer, loaded.fim, shelf, sampler), service)
