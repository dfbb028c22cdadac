"""An adapter as matrices against peft's own; what is more than LoRA is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from starling_server.backends.torch import loading
from starling_server.config import ModelConfig
from starling_server.errors import AdapterError
from starling_server.models import lora, safetensors_numpy
from starling_server.models.bases import Base
from starling_server.models.lora import CONFIG


@pytest.mark.parametrize("name", ["plain", "rslora", "patterns"])
def test_every_layer_gains_what_peft_adds(name: str, tiny_base: Base, lora_over: Callable[[Base, str], Path]) -> None:
    adapter = lora_over(tiny_base, name)
    read = lora.read(adapter)
    base = loading.load(ModelConfig(base="tiny", quantize="none", device="cpu", dtype="float32"))
    with loading.quiet():
        model = PeftModel.from_pretrained(base.model, str(adapter))
    layers: dict[str, Any] = {
        module.removeprefix(lora.PREFIX): layer
        for module, layer in model.named_modules()
        if hasattr(layer, "get_delta_weight")
    }
    assert set(read.pairs) == set(layers)
    assert len(read.pairs) == 4 * 8
    ranks = {pair.rank for pair in read.pairs.values()}
    assert ranks == ({2, 4, 6} if name == "patterns" else {8})
    for module, pair in read.pairs.items():
        expected = layers[module].get_delta_weight("default").detach().numpy()
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(pair.delta(), expected, rtol=1e-4, atol=1e-7)


def change(adapter: Path, **settings: Any) -> None:
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**config, **settings}))


def with_dora(adapter: Path) -> None:
    change(adapter, use_dora=True)


def with_biases(adapter: Path) -> None:
    change(adapter, bias="lora_only")


def another_method(adapter: Path) -> None:
    change(adapter, peft_type="IA3")


def without_config(adapter: Path) -> None:
    (adapter / CONFIG).unlink()


def with_a_whole_head(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file({**load_file(file), "base_model.model.lm_head.weight": torch.zeros(2, 2)}, file)


def half_a_pair(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if "h.0.attn.c_proj.lora_B" not in name}
    save_file(kept, file)


def cut_short(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (with_dora, r"more than a LoRA \(use_dora\)"),
        (with_biases, r"more than a LoRA \(bias\)"),
        (another_method, "IA3"),
        (without_config, r"has no adapter_config\.json"),
        (with_a_whole_head, "lm_head.weight, which a LoRA does not have"),
        (half_a_pair, r"no matching lora_A and lora_B for transformer\.h\.0\.attn\.c_proj"),
        (cut_short, "and its header says"),
    ],
)
def test_what_is_no_plain_lora_is_refused(
    damage: Callable[[Path], None], words: str, tiny_base: Base, lora_over: Callable[[Base, str], Path]
) -> None:
    adapter = lora_over(tiny_base, "plain")
    damage(adapter)
    with pytest.raises(AdapterError, match=words):
        lora.read(adapter)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_floats_are_read_without_torch_as_torch_reads_them(dtype: torch.dtype, tmp_path: Path) -> None:
    file = tmp_path / "some.safetensors"
    values = (torch.randn(7, 5, generator=torch.manual_seed(0)) * 10).to(dtype)
    save_file({"first": torch.zeros(3, dtype=dtype), "second": values}, file)
    read = safetensors_numpy.listed([file])["second"]
    assert read.shape == (7, 5)
    np.testing.assert_array_equal(read.read(), values.float().numpy())
