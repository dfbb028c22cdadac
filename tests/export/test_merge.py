"""Merged weights against peft's own merge, and merged models against base and adapter."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded
from starling_server.config import ModelConfig
from starling_server.errors import AdapterError
from starling_server.models import bases, lora
from starling_server.models.bases import TINY_DIR, Base
from starling_server.models.lora import Lora, Pair
from starling_training.export import merge

ULP = 2**-7
"""Between two neighbouring bfloat16 numbers, as a share of the smaller's power of two."""
CANCELLED = 1e-6
"""Of weights of 0.1 to 1, float32 keeps no more."""


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    folder = tmp_path / "merged"
    folder.mkdir()
    return folder


def over(loaded: Loaded, adapter: Path) -> Any:
    with loading.quiet():
        return PeftModel.from_pretrained(loaded.model, str(adapter)).eval()


def fresh(**settings: Any) -> Loaded:
    chosen: dict[str, Any] = {"base": "tiny", "quantize": "none", "device": "cpu", **settings}
    return loading.load(ModelConfig(**chosen))


def prompts(loaded: Loaded, source: str) -> list[list[int]]:
    """Twenty prompts in serving's form."""
    texts = [(source[at : at + 300], source[at + 330 : at + 400]) for at in range(0, 3000, 150)]
    encode = loaded.tokenizer.encode
    return [loaded.fim.prompt(encode(before), encode(after)) for before, after in texts]


@torch.inference_mode()
def logits(model: Any, ids: list[int]) -> Tensor:
    """After each of `ids`, shape (ids, vocabulary), in float32."""
    return model(input_ids=torch.tensor([ids])).logits[0].float()


def furthest(one: Any, other: Any, asked: list[list[int]]) -> tuple[float, float]:
    """The mean difference of logits over all prompts, and the share of places where both would write the same."""
    pairs = [(logits(one, ids), logits(other, ids)) for ids in asked]
    apart = torch.cat([(a - b).abs().flatten() for a, b in pairs]).mean()
    same = torch.cat([a.argmax(1) == b.argmax(1) for a, b in pairs]).float().mean()
    return float(apart), float(same)


@pytest.mark.parametrize("name", ["plain", "rslora", "patterns"])
def test_onto_the_original_weights_is_peft_s_merge_in_float32(
    name: str, tiny_base: Base, lora_over: Callable[[Base, str], Path], merged: Path
) -> None:
    """Rounded once, so each weight is the nearest bfloat16 or, where both sums fall beside a tie, its neighbour.

    Where base and adapter nearly cancel, what is left is float32's rounding of the two.
    """
    adapter = lora_over(tiny_base, name)
    read = lora.read(adapter)
    merge.write(tiny_base, read, {}, merged)
    expected = over(fresh(dtype="float32"), adapter).merge_and_unload().state_dict()
    bare = load_file(TINY_DIR / "model.safetensors")
    for weight, found in load_file(merged / "model.safetensors").items():
        wanted = expected[weight].to(torch.bfloat16)
        assert found.dtype is torch.bfloat16
        assert (found == wanted).float().mean() > 0.999, weight
        assert bool(((found.float() - wanted.float()).abs() <= wanted.float().abs() * ULP * 1.01 + CANCELLED).all()), (
            weight
        )
        untouched = weight.removesuffix(".weight") not in read.pairs
        assert bool((found == bare[weight]).all()) == untouched, weight


def test_a_merged_model_answers_as_base_and_adapter_do(
    trained: Path, tiny_base: Base, merged: Path, source: str
) -> None:
    """Onto the original weights, both computed in float32: all that is left is that the merged weights were rounded.

    The measure is what such a rounding does at all: peft's own merge in float32, rounded.
    """
    merge.write(tiny_base, lora.read(trained), {}, merged)
    one, other = fresh(base=str(merged), dtype="float32"), over(fresh(dtype="float32"), trained)
    asked = prompts(one, source)
    apart, same = furthest(one.model, other, asked)
    rounded = over(fresh(dtype="float32"), trained).merge_and_unload()
    for parameter in rounded.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).float()
    usual, _ = furthest(rounded, other, asked)
    change, _ = furthest(fresh(dtype="float32").model, other, asked)
    assert apart <= 1.05 * usual
    assert apart < change / 20
    assert same > 0.98


def test_a_model_merged_onto_dequantised_weights_is_what_was_trained(
    trained: Path, tiny_base: Base, four_bits: Loaded, merged: Path, source: str
) -> None:
    """Closer to the adapter over 4 bits than the merge onto the original weights is, by far."""
    merge.write(tiny_base, lora.read(trained), loading.dequantised(four_bits.model), merged)
    original = merged.with_name("original")
    original.mkdir()
    merge.write(tiny_base, lora.read(trained), {}, original)
    served = fresh(quantize="nf4")
    loading.keep_four_bit_weights_trainable(served.model)
    wanted, asked = over(served, trained), prompts(served, source)
    apart, same = furthest(fresh(base=str(merged)).model, wanted, asked)
    further, _ = furthest(fresh(base=str(original)).model, wanted, asked)
    assert apart < further / 4
    assert same > 0.95


def test_four_bit_weights_are_dequantised_and_not_garbage(four_bits: Loaded) -> None:
    original = load_file(TINY_DIR / "model.safetensors")
    weights = loading.dequantised(four_bits.model)
    assert len(weights) == 4 * 8
    for module, weight in weights.items():
        exact = original[f"{module}.weight"].float()
        assert (weight().float() - exact).abs().mean() < 0.12 * exact.abs().mean(), "NF4 is off by some 8 %"


@pytest.mark.skipif(not has_avx512bf16(), reason="only with AVX512-BF16 does bitsandbytes repack weights in place")
def test_repacked_weights_are_never_dequantised() -> None:
    loaded = fresh(quantize="nf4")
    logits(loaded.model, [1, 2, 3])
    weights = loading.dequantised(loaded.model)
    with pytest.raises(AssertionError, match="repacked"):
        next(iter(weights.values()))()


def test_it_is_a_model_folder_like_any_other(trained: Path, tiny_base: Base, merged: Path) -> None:
    merge.write(tiny_base, lora.read(trained), {}, merged)
    names = {file.name for file in merged.iterdir()}
    assert names == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    with loading.quiet():
        model = AutoModelForCausalLM.from_pretrained(merged)
    assert model.dtype is torch.bfloat16
    assert bases.fingerprint(bases.find(str(merged))) != bases.fingerprint(tiny_base)


def test_a_base_in_several_files_stays_in_several(trained: Path, tiny_base: Base, merged: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    fresh().model.save_pretrained(parts, max_shard_size="8MB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY_DIR / name, parts)
    base = bases.find(str(parts))
    assert len(list(parts.glob("*.safetensors"))) > 1
    merge.write(base, lora.read(trained), {}, merged)
    whole = tmp_path / "whole"
    whole.mkdir()
    merge.write(tiny_base, lora.read(trained), {}, whole)
    one, other = (fresh(base=str(folder)).model.state_dict() for folder in (merged, whole))
    assert all(bool((one[name] == other[name]).all()) for name in other)


def test_a_layer_that_the_base_has_not(tiny_base: Base, merged: Path) -> None:
    nothing = torch.zeros(2, 2).numpy()
    with pytest.raises(AdapterError, match="does not have: train it again"):
        merge.write(tiny_base, Lora(8.0, {"transformer.h.99.attn.c_attn": Pair(nothing, nothing, 1.0)}), {}, merged)
