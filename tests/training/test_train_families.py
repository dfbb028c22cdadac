"""`train-copilot` over small bases of other families than the bundled one, from flags to a served adapter."""

import asyncio
import json
from pathlib import Path

import pytest
from support import random_bases

from starling_server.completion.service import Service
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.models import adapters, bases
from starling_server.models.bases import ORDER
from starling_server.models.families import table as families
from starling_server.models.families.family import Spelling
from starling_server.models.tokenizer import load_tokenizer
from starling_server.schema import CompleteRequest
from starling_server.serve.start import start
from starling_training.train_cli import train_copilot

SERVER = Path(__file__).parents[2] / "server" / "starling_server"
SHORT = (
    "--quantize", "none", "--device", "cpu", "--context-tokens", "128", "--max-tokens", "16", "--holes", "2",
    "--canaries", "0", "--max-steps", "2", "--evaluations", "1", "--accumulation", "1",
)  # fmt: skip
FAMILIES: dict[str, tuple[str, Spelling]] = {
    "starcoder2": ("starcoder2", families.STARCODER2.spellings[0]),
    "qwen2": ("qwen2", families.QWEN),
    "llama": ("llama", families.DEEPSEEK_CODER),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A few files of real code."""
    folder = tmp_path / "project"
    folder.mkdir()
    for file in sorted((SERVER / "engine").glob("*.py")):
        (folder / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def base_of(name: str, project: Path, folder: Path) -> Path:
    model_type, spelling = FAMILIES[name]
    base = random_bases.write(folder, model_type, spelling)
    random_bases.make_likely(base, "\n".join(file.read_text(encoding="utf-8") for file in project.glob("*.py")))
    return base


def train(project: Path, base: Path, output: Path, *more: str) -> None:
    train_copilot.main(
        [str(project), "--base", str(base), "--output", str(output), *SHORT, *more], standalone_mode=False
    )


async def prompts(service: Service, *names: str) -> list[str]:
    asked = CompleteRequest(prefix="def f(a):\n    return", suffix="\n", show_prompt=True)
    return [(await service.complete(asked.model_copy(update={"adapter": name}))).prompt or "" for name in names]


@pytest.mark.parametrize("name", FAMILIES)
def test_an_adapter_is_served_in_the_order_that_it_was_taught(name: str, project: Path, tmp_path: Path) -> None:
    """Suffix first, also over bases that have learnt the other order only, which they themselves are served in."""
    base, output = base_of(name, project, tmp_path / "base"), tmp_path / "mine"
    train(project, base, output)
    manifest = adapters.load(output).manifest
    assert (manifest.fim.order, manifest.training["order"]) == ("spm", "spm")
    assert {"middle loss", "holes"} <= manifest.results.keys()
    config = ServiceConfig(max_tokens=8, context_tokens=128)
    service = start(ModelConfig(str(base), "none", "cpu"), config, [adapters.load(output)])
    fim, tokenizer = service.backend.fim, service.backend.tokenizer
    before, after = tokenizer.encode("def f(a):\n    return"), tokenizer.encode("\n")
    try:
        orders = ("spm", fim.learnt[0])
        expected = [tokenizer.decode(fim.prompt(before, after, order)) for order in orders]
        assert asyncio.run(prompts(service, "mine", "base")) == expected
    finally:
        service.close()


def test_all_weights_of_a_base_keep_the_order_that_they_were_taught(project: Path, tmp_path: Path) -> None:
    base, output = base_of("qwen2", project, tmp_path / "base"), tmp_path / "whole"
    train(project, base, output, "--method", "full")
    found = bases.find(str(output))
    assert json.loads((output / "config.json").read_text(encoding="utf-8"))[ORDER] == "spm"
    assert found.fim(load_tokenizer(found)).order == "spm"
    train(project, base, tmp_path / "prefix", "--method", "full", "--order", "psm")
    assert ORDER not in json.loads((tmp_path / "prefix" / "config.json").read_text(encoding="utf-8"))
