"""Loading an adapter while the model's thread is busy."""

import time

import pytest
from support import adapter

from starling_server.config import ModelConfig, ServiceConfig
from starling_server.engine.engine import Steps
from starling_server.engine.job_queue import Ticket
from starling_server.errors import Overloaded
from starling_server.http import admin
from starling_server.http.admin import Operations
from starling_server.http.complete import Api
from starling_server.http.middleware.metrics import Metrics
from starling_server.models import adapters, bases
from starling_server.serve.start import start


async def test_a_busy_model_is_named_and_loading_works_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "ASIDE_SECONDS", 0.6)
    adapter.write(adapters.home() / "mine", bases.find("tiny"))
    api = Api()
    api.service = start(ModelConfig(base="tiny"), ServiceConfig())
    operations = Operations(api, Metrics(lambda: api.service))

    def busy(_: Ticket) -> Steps[None]:
        time.sleep(1.5)
        return
        yield

    _, done = api.service.scheduler.submit(busy, None, 60)
    with pytest.raises(Overloaded, match=r"^The model was busy for 1 seconds: try again\.$"):
        await operations.load("mine")
    done.result(10)
    monkeypatch.setattr(admin, "ASIDE_SECONDS", 30.0)
    assert (await operations.load("mine")).loaded
    api.service.close()
