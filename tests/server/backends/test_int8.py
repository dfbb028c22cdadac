"""8-bit weights on a CPU: how near they are, and what is served with them."""

from pathlib import Path

import pytest
import torch
from support import adapter
from torch import nn

from starling_server.backends.torch import loading, weight_format
from starling_server.backends.torch.int8 import Int8Linear
from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner
from starling_server.config import ModelConfig
from starling_server.engine.protocols import Feed
from starling_server.errors import BaseModelError
from starling_server.models import bases
from starling_server.prompt import window
from starling_server.prompt.cursor import Cursor

SOURCES = sorted((Path(__file__).parents[3] / "server/starling_server").rglob("*.py"))


@pytest.fixture(scope="module")
def eight() -> Loaded:
    return loading.load(ModelConfig(base="tiny", quantize="int8", device="cpu"))


@pytest.mark.parametrize(("inputs", "outputs"), [(320, 1280), (64, 1), (2048, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_near_its_float32(inputs: int, outputs: int, bias: bool) -> None:
    torch.manual_seed(0)
    exact = nn.Linear(inputs, outputs, bias)
    rows = torch.randn(2, 3, inputs)
    with torch.inference_mode():
        wanted, got = exact(rows), Int8Linear(exact)(rows)
    assert got.shape == wanted.shape
    assert got.dtype == torch.float32
    assert (got - wanted).norm() / wanted.norm() < 0.01


def test_a_row_of_zeros_stays_one() -> None:
    layer = nn.Linear(64, 2, bias=False)
    nn.init.zeros_(layer.weight)
    assert torch.equal(Int8Linear(layer)(torch.ones(1, 64)), torch.zeros(1, 2))


def test_every_product_of_the_base_is_in_8_bits(eight: Loaded) -> None:
    kinds = {type(module) for module in eight.model.modules() if hasattr(module, "out_features")}
    assert kinds == {Int8Linear}
    assert {weight.dtype for weight in eight.model.parameters()} == {torch.float32}
    assert eight.model.dtype == torch.float32


def test_it_knows_what_float32_knows(eight: Loaded, exact: Loaded) -> None:
    """The loss of middles, in nats a token."""
    losses = [_loss(loaded) for loaded in (eight, exact)]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)


def test_an_adapter_lies_over_it_as_over_float32(eight: Loaded, exact: Loaded, tmp_path: Path) -> None:
    folder = adapter.write(tmp_path / "random", exact.base)
    rows = list[torch.Tensor]()
    for runner in (TorchRunner(eight), TorchRunner(exact)):
        runner.add_adapter("random", folder)
        bare, adapted = (runner.feed([Feed(runner.open(name), range(100, 200))])[0][0] for name in (None, "random"))
        rows.append(adapted)
        assert (adapted - bare).norm() / bare.norm() > 0.1
    assert (rows[0] - rows[1]).norm() / rows[1].norm() < 0.03


def test_it_is_measured_where_it_can_serve_and_never_trained_over() -> None:
    served = weight_format.fastest(7_300_000_000, 256, 100 << 30)[1]
    trained = weight_format.fastest(7_300_000_000, 256, 100 << 30, training=True)[1]
    assert "int8" in served
    assert "int8" not in trained


def test_a_base_in_4_bits_is_not_made_8(tmp_path: Path) -> None:
    tiny = bases.find("tiny")
    (tmp_path / "base").mkdir()
    for file in tiny.path.iterdir():
        if file.is_file():
            (tmp_path / "base" / file.name).write_bytes(file.read_bytes())
    config = tmp_path / "base" / "config.json"
    given = '"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}, '
    config.write_text(config.read_text().replace("{", "{" + given, 1))
    with pytest.raises(BaseModelError, match="quantised already: leave out --quantize int8"):
        loading.load(ModelConfig(base=str(tmp_path / "base"), quantize="int8", device="cpu"))


def _loss(loaded: Loaded) -> float:
    """Mean over the tokens of 12 lines taken out of this package."""
    runner, found = TorchRunner(loaded), list[float]()
    for path in SOURCES[:12]:
        text = path.read_text()
        at = text.index("\n", len(text) // 2) + 1
        cut = window.fit(Cursor.at(text[:at], text[at + 40 :]), 500, loaded.tokenizer.encode)
        prompt = loaded.fim.prompt(cut.prefix, cut.suffix)
        middle = loaded.tokenizer.encode(text[at : at + 40])
        found += runner.score(None, [*prompt, *middle], len(prompt))
    return -sum(found) / len(found)
