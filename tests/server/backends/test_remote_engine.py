"""A serve-copilot before another server: the same answers as from the model itself, cancelled, down and back.

The other server is our own `/v1/completions`, and llama-server with the exported base where it is built.
"""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from support import adapter
from support.relay import EXACT, Gate, agreeing, cancel_ms, requests, serve

from starling_server.client import Client
from starling_server.errors import RequestError
from starling_server.models import bases
from starling_server.schema import CompleteRequest

PROMPTS = 50


@asynccontextmanager
async def relayed(target: str) -> AsyncGenerator[tuple[Gate, Client]]:
    """A client of a server whose model is `target`'s, over a gate that can be watched and shut."""
    async with Gate(target) as gate:
        with contextlib.ExitStack() as ends:
            url = await asyncio.to_thread(ends.enter_context, serve("--engine", f"openai:{gate.url}/v1"))
            async with Client(url) as client:
                yield gate, client


@pytest.mark.slow
async def test_the_same_answers_cancelled_down_and_back(served: str) -> None:
    async with relayed(served) as (gate, relay):
        async with Client(served) as direct:
            assert await agreeing(direct, relay, requests(PROMPTS)) == PROMPTS
        await cancel_ms(relay, gate)  # returns once the other server's connection is closed
        gate.shut()
        for _ in range(5):
            with pytest.raises(RequestError) as down:
                await relay.complete(CompleteRequest(prefix="import os\n", max_tokens=4))
            assert down.value.status == 503
        with pytest.raises(RequestError, match="oes not answer") as cut:
            [_ async for _ in relay.stream(CompleteRequest(prefix="import os\n", max_tokens=4))]
        assert cut.value.status == 503
        answer = httpx2.post(f"{relay.url}/complete", json={"prefix": "x = "}, trust_env=False)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        with pytest.raises(RequestError, match="start the server there") as away:
            await relay.ready()
        assert away.value.status == 503
        assert (await relay.health()).status == "ok"
        gate.open()
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(RequestError):
                assert (await relay.complete(CompleteRequest(prefix="import os\n", max_tokens=4))).choices
                break
            assert time.monotonic() < deadline, "it never came back"
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)  # what a check found holds for so long
        assert (await relay.ready()).status == "ok"


@pytest.mark.slow
async def test_adapters_are_models_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARLING_DATA_DIR", str(tmp_path))
    adapter.write(tmp_path / "adapters" / "mine", bases.find("tiny"))
    with serve(*EXACT) as target:
        async with relayed(target) as (_, relay), Client(target) as direct:
            asked = requests(4)
            for name in ("mine", "base"):
                named = [each.model_copy(update={"adapter": name}) for each in asked]
                assert await agreeing(direct, relay, named) == len(named)
            assert (await relay.ready()).adapters == ["mine"]


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    command = [sys.executable, "-m", "starling_server", "--port", "0", "--base", "tiny"]
    done = subprocess.run(
        [*command, "--engine", "openai:http://127.0.0.1:1/v1"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "start the server there, or correct --engine" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    done = subprocess.run([*command, "--engine", "vllm"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--engine vllm is not valid" in done.stderr


def test_torch_is_not_loaded_for_it(served: str) -> None:
    """The process before another server needs a tokenizer only."""
    script = (
        "import sys; from starling_server.config import ModelConfig, ServiceConfig; "
        "from starling_server.serve.start import start; "
        f"service = start(ModelConfig('tiny', engine='openai:{served}/v1'), ServiceConfig()); "
        "service.close(); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False"]
