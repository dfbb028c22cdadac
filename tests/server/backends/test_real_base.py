"""Qwen2.5-Coder-0.5B as a GGUF file, with its learnt weights: against llama.cpp itself, and as a user asks."""

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest
from support.llama import llama
from support.real import real

from starling_server.backends.llamacpp import bindings, loading
from starling_server.backends.llamacpp.runner import GgmlRunner
from starling_server.config import ModelConfig
from starling_server.engine.engine import Engine, Job
from starling_server.engine.protocols import GREEDY

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not bindings.installed(), reason="llama.cpp is not installed: make ggml"),
]
TOKENS = 8


def test_greedy_tokens_are_llama_cpp_s(source: str) -> None:
    """Prompts of one chunk, since sums over other numbers of rows round differently and near ties then differ."""
    loaded = loading.load(ModelConfig(base=str(real())))
    engine, encode = Engine(GgmlRunner(loaded, 1 << 27, 256), 0), loaded.tokenizer.encode
    with llama(real(), "f16", flash=True) as judge:
        for at in range(150, 6000, 1200):
            ids = loaded.fim.prompt(encode(source[at - 100 : at])[-40:], encode(source[at + 30 : at + 60])[:16])
            assert len(ids) <= engine.chunk
            ours = list(engine.generate(Job(ids, TOKENS, loaded.fim.stops, GREEDY)))
            theirs = judge.greedy(ids, TOKENS)
            assert ours == theirs[: next((n for n, token in enumerate(theirs) if token in loaded.fim.stops), TOKENS)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A serve-copilot with these weights and no other setting of how they are computed."""
    flags = ("--port", "0", "--context-tokens", "256", "--deadline-ms", "120000", "--no-prefetch", "--max-tokens", "16")
    command = [sys.executable, "-m", "starling_server", "--base", str(real()), *flags]
    environment = {**os.environ, "STARLING_CACHE_DIR": str(tmp_path_factory.mktemp("real"))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("Listening on ").strip()
        process.terminate()


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("def add(a, b):\n    return ", "\n", "a + b"),
        ("import os\n\ndef read(path):\n    with open(", " as file:\n        return file.read()\n", "path"),
        ("names = ['ada', 'grace']\nfor name in ", ":\n    print(name)\n", "names"),
    ],
)
def test_suggestions(before: str, after: str, wanted: str, address: str) -> None:
    asked = {"prefix": before, "suffix": after, "language": "python"}
    with httpx2.Client(base_url=address, timeout=240, trust_env=False) as client:
        found = client.post("/complete", json=asked).json()
    assert found["choices"][0]["text"].startswith(wanted), found
    assert Path(found["base"]) == real()
