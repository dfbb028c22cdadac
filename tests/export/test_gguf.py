"""GGUF files read back with gguf's own reader: tensors, keys, and the bases that cannot be written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader, quants
from safetensors.torch import load_file, save_file
from support import random_bases, starcoder2

from starling_server.backends.llamacpp.gguf_export import KINDS, Kind
from starling_server.backends.llamacpp.gguf_export.write import write_adapter, write_base
from starling_server.errors import AdapterError, BaseModelError
from starling_server.models import bases, lora
from starling_server.models.bases import TINY_DIR, Base

NAMES = {
    "blk.3.attn_qkv.weight": "transformer.h.3.attn.c_attn.weight",
    "blk.7.ffn_down.weight": "transformer.h.7.mlp.c_proj.weight",
    "blk.0.ffn_up.bias": "transformer.h.0.mlp.c_fc.bias",
    "token_embd.weight": "transformer.wte.weight",
    "position_embd.weight": "transformer.wpe.weight",
    "output_norm.weight": "transformer.ln_f.weight",
}


def contents(path: Path) -> dict[str, Any]:
    return {field.name: field.contents() for field in GGUFReader(path).fields.values()}


def values(path: Path) -> dict[str, Any]:
    """Every tensor as float32, row-major."""
    return {t.name: quants.dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}


def blocks_max(weights: Any) -> Any:
    """The largest magnitude of each 32 values in a row, at every value."""
    return np.repeat(np.abs(weights.reshape(-1, 32)).max(1), 32).reshape(weights.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_are_the_base_s(kind: Kind, tiny_base: Base, tmp_path: Path) -> None:
    """Exact in 32 bits and bfloat16; else no further off than half a step of the type, a step where it is lopsided."""
    path = tmp_path / "tiny.gguf"
    write_base(tiny_base, path, kind)
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.gguf"]
    original = load_file(TINY_DIR / "model.safetensors")
    written = values(path)
    for name, source in NAMES.items():
        expected = original[source].float().numpy()
        exact = kind in ("f32", "bf16") or expected.ndim == 1 or name == "position_embd.weight"
        if exact:
            bound = 0.0
        elif kind == "f16":
            bound = np.abs(expected) * 2.0**-11 + 2.0**-25
        elif kind == "q4_0" and name != "token_embd.weight":
            bound = blocks_max(expected) / 8 * (1 + 8 * 2.0**-11)
        else:
            bound = blocks_max(expected) / 127 * (0.5 + 127 * 2.0**-11)  # the step itself is a float16
        assert np.all(np.abs(written[name] - expected) <= bound), name


def test_keys_say_what_llama_cpp_asks_for(tiny_base: Base, tmp_path: Path) -> None:
    write_base(tiny_base, tmp_path / "a.gguf", "q8_0")
    found = contents(tmp_path / "a.gguf")
    assert found["general.architecture"] == "starcoder"
    assert found["general.file_type"] == 7
    assert (found["starcoder.context_length"], found["starcoder.attention.head_count_kv"]) == (1024, 1)
    assert found["tokenizer.ggml.pre"] == "starcoder"
    assert [found[f"tokenizer.ggml.fim_{name}_token_id"] for name in ("pre", "mid", "suf", "pad")] == [1, 2, 3, 4]
    assert len(found["tokenizer.ggml.tokens"]) == 8192


def test_starcoder2_has_rotary_positions_and_never_passes_its_window(tmp_path: Path) -> None:
    base = bases.find(str(starcoder2.write(tmp_path, rope_theta=1234.5, tie_word_embeddings=False)))
    write_base(base, tmp_path / "a.gguf", "f32")
    found = contents(tmp_path / "a.gguf")
    assert found["general.architecture"] == "starcoder2"
    assert found["starcoder2.context_length"] == 256
    assert found["starcoder2.attention.head_count_kv"] == 2
    assert "output.weight" in values(tmp_path / "a.gguf")
    theta = json.loads((tmp_path / "config.json").read_text()).get("rope_parameters", {}).get("rope_theta")
    assert found["starcoder2.rope.freq_base"] == pytest.approx(theta)


@pytest.mark.parametrize("name", ["plain", "rslora", "patterns"])
def test_an_adapter_s_product_is_what_llama_cpp_will_add(
    name: str, tiny_base: Base, lora_over: Callable[[Base, str], Path], tmp_path: Path
) -> None:
    """llama.cpp adds alpha / rank * B @ A, whatever the adapter's own rule was."""
    adapter = lora_over(tiny_base, name)
    write_adapter(adapter, tiny_base, tmp_path / "lora.gguf")
    found, written = contents(tmp_path / "lora.gguf"), values(tmp_path / "lora.gguf")
    assert (found["general.type"], found["adapter.type"]) == ("adapter", "lora")
    read = lora.read(adapter)
    assert len(written) == 2 * len(read.pairs)
    for short, layer in (("attn_qkv", "attn.c_attn"), ("attn_output", "attn.c_proj"), ("ffn_down", "mlp.c_proj")):
        a, b = written[f"blk.1.{short}.weight.lora_a"], written[f"blk.1.{short}.weight.lora_b"]
        expected = read.pairs[f"transformer.h.1.{layer}"].delta()
        np.testing.assert_allclose(found["adapter.lora.alpha"] / a.shape[0] * b @ a, expected, rtol=1e-4, atol=1e-7)


def test_an_adapter_of_another_architecture_is_refused(
    tiny_base: Base, lora_over: Callable[[Base, str], Path], tmp_path: Path
) -> None:
    other = bases.find(str(starcoder2.write(tmp_path)))
    with pytest.raises(AdapterError, match="which this base does not have"):
        write_adapter(lora_over(tiny_base, "plain"), other, tmp_path / "lora.gguf")
    assert not list(tmp_path.glob("*.gguf*"))


def changed(folder: Path, file: str, change: Callable[[Any], object]) -> Base:
    shutil.copytree(TINY_DIR, folder)
    content = json.loads((folder / file).read_text(encoding="utf-8"))
    change(content)
    (folder / file).write_text(json.dumps(content), encoding="utf-8")
    return bases.find(str(folder))


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("config.json", {"multi_query": False}, "multi_query"),
        ("config.json", {"activation_function": "relu"}, "'relu'"),
        ("config.json", {"scale_attn_weights": False}, "scale_attn_weights"),
        ("config.json", {"vocab_size": 3}, "config.json says"),
        ("tokenizer.json", {"normalizer": {"type": "NFKC"}}, "no name for"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "no name for"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    file: str, change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(BaseModelError, match=words):
        write_base(changed(tmp_path / "base", file, lambda content: content.update(change)), tmp_path / "a.gguf")


@pytest.mark.parametrize("settings", [{"use_bias": False}, {"hidden_act": "silu"}])
def test_a_starcoder2_of_another_form_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    base = bases.find(str(starcoder2.write(tmp_path, **settings)))
    with pytest.raises(BaseModelError, match="cannot be written as GGUF"):
        write_base(base, tmp_path / "a.gguf")


@pytest.mark.parametrize(
    ("model_type", "settings", "words"),
    [
        ("qwen2", {"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "rope_type 'dynamic'"),
        ("gemma", {}, "no export of gemma models is written yet"),
    ],
)
def test_a_form_of_another_family_that_is_not_written(
    model_type: str, settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    base = bases.find(str(random_bases.write(tmp_path / "base", model_type, **settings)))
    with pytest.raises(BaseModelError, match=words):
        write_base(base, tmp_path / "a.gguf")


def edited(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> Base:
    shutil.copytree(TINY_DIR, folder)
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return bases.find(str(folder))


Weights = dict[str, torch.Tensor]


def without_a_bias(weights: Weights) -> None:
    del weights["transformer.h.2.attn.c_attn.bias"]


def with_another(weights: Weights) -> None:
    weights["other"] = torch.zeros(3)


def with_huge_ones(weights: Weights) -> None:
    weights["transformer.h.0.mlp.c_fc.weight"] = torch.full((1280, 320), 1e6)


@pytest.mark.parametrize(
    ("edit", "words"),
    [(without_a_bias, "lacks blk.2.attn_qkv.bias"), (with_another, "holds other"), (with_huge_ones, "bf16")],
)
def test_weights_that_cannot_be_written(edit: Callable[[Any], object], words: str, tmp_path: Path) -> None:
    base = edited(tmp_path / "base", edit)
    with pytest.raises(BaseModelError, match=words):
        write_base(base, tmp_path / "a.gguf", "f16")
    assert not list(tmp_path.glob("*a.gguf*")), "nothing half written"
