"""LoRA beside the linear layers against peft's own, one by one and switched back and forth; misfits are refused."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from support import adapter as random_adapter
from support import starcoder2

from starling_server.backends.torch import loading
from starling_server.backends.torch.cuda_graphs import GraphedDecode, uncaptured
from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.lora_layers import LoraLayers
from starling_server.backends.torch.runner import TorchRunner
from starling_server.config import ModelConfig, Quantize
from starling_server.engine.protocols import Feed
from starling_server.errors import AdapterError
from starling_server.models import adapters, bases

IDS = [1, *range(100, 140)]
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"r": 8, "lora_alpha": 16},
    "rslora": {"r": 4, "lora_alpha": 16, "use_rslora": True},
    "patterns": {
        "r": 4, "lora_alpha": 8,
        "rank_pattern": {"c_proj": 2, "mlp.c_fc": 12}, "alpha_pattern": {"h.1.*": 3, "mlp.c_proj": 32},
    },
    "some": {"r": 3, "lora_alpha": 3, "target_modules": ["c_fc"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return starcoder2.write(tmp_path_factory.mktemp("starcoder2"))


def base(name: str | Path, quantize: Quantize = "none") -> Loaded:
    loaded = loading.load(ModelConfig(base=str(name), quantize=quantize, device="cpu", dtype="float32"))
    loading.keep_four_bit_weights_trainable(loaded.model)
    return loaded


def trained(loaded: Loaded, folder: Path, shape: str) -> Path:
    """A random adapter that peft writes; the base has none afterwards."""
    torch.manual_seed(len(shape))
    settings: dict[str, Any] = {"target_modules": "all-linear", **SHAPES[shape]}
    with loading.quiet():
        model: Any = peft.get_peft_model(
            loaded.model, peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **settings)
        )
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data *= 0.3
    model.save_pretrained(str(folder / shape))
    model.unload()
    return folder / shape


@torch.inference_mode()
def by_peft(loaded: Loaded, path: Path) -> torch.Tensor:
    with loading.quiet():
        model: Any = PeftModel.from_pretrained(loaded.model, str(path)).eval()
    logits = model(input_ids=torch.tensor([IDS])).logits[0]
    model.unload()
    return logits


def by_us(runner: TorchRunner, name: str | None) -> torch.Tensor:
    return runner.feed([Feed(runner.open(name), IDS, len(IDS), name)])[0]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_every_adapter_computes_what_peft_computes(quantize: Quantize, fixed: bool, tmp_path: Path) -> None:
    loaded = base("tiny", quantize)
    paths = {shape: trained(loaded, tmp_path, shape) for shape in SHAPES}
    expected = {shape: by_peft(loaded, path) for shape, path in paths.items()}
    decode = GraphedDecode(loaded.model, loaded.base.context, uncaptured) if fixed else None
    runner = TorchRunner(loaded, decode)
    bare = by_us(runner, None)
    for shape, path in paths.items():  # the layout grows under those that came before
        runner.add_adapter(shape, path)
        assert torch.equal(by_us(runner, None), bare)
        torch.testing.assert_close(by_us(runner, shape), expected[shape], atol=1e-4, rtol=1e-4)
    assert runner.adapters == tuple(SHAPES)
    for shape in ["some", "rslora", "patterns", "rslora", "some", "plain"]:
        torch.testing.assert_close(by_us(runner, shape), expected[shape], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(by_us(runner, shape), bare, atol=1e-2)
    assert torch.equal(by_us(runner, None), bare)


def test_starcoder2_too(grouped: Path, tmp_path: Path) -> None:
    loaded = base(grouped)
    path = trained(loaded, tmp_path, "rslora")
    expected = by_peft(loaded, path)
    runner = TorchRunner(loaded)
    runner.add_adapter("x", path)
    torch.testing.assert_close(by_us(runner, "x"), expected, atol=1e-4, rtol=1e-4)


def test_addresses_stay_until_a_larger_rank_comes(tmp_path: Path) -> None:
    loaded = base("tiny")
    paths = {shape: trained(loaded, tmp_path, shape) for shape in ("plain", "rslora", "patterns")}
    layers = LoraLayers(loaded.model, fixed=True)
    layers.add("plain", paths["plain"])
    layer: Any = loaded.model.get_submodule("transformer.h.0.attn.c_attn")
    version, address = layers.version, layer.pair[0].data_ptr()
    layers.add("rslora", paths["rslora"])
    for name in ("plain", None, "rslora"):
        layers.use(name)
        assert (layers.version, layer.pair[0].data_ptr()) == (version, address)
    linears = [m for m in loaded.model.modules() if isinstance(m, torch.nn.Linear) and m is not loaded.model.lm_head]
    assert layers.nbytes == 4 * 8 * sum(m.in_features + m.out_features for m in linears)
    layers.add("patterns", paths["patterns"])
    assert layers.version == version + 1
    assert layer.pair[0].shape[0] == 16, "12 to the next multiple of 8"


def test_a_new_runner_finds_the_base_bare(tmp_path: Path) -> None:
    loaded = base("tiny")
    bare = by_us(TorchRunner(loaded), None)
    path, first = trained(loaded, tmp_path, "plain"), TorchRunner(loaded)
    first.add_adapter("x", path)
    assert not torch.allclose(by_us(first, "x"), bare, atol=1e-2)
    second = TorchRunner(loaded)
    assert second.adapters == ()
    assert torch.equal(by_us(second, None), bare)


def of_another_shape(path: Path) -> None:
    file = path / adapters.WEIGHTS
    save_file({n: t[:-1] if "lora_B" in n else t for n, t in load_file(file).items()}, file)


def of_layers_that_are_not_there(path: Path) -> None:
    file = path / adapters.WEIGHTS
    save_file({n.replace("h.0.", "h.90."): t for n, t in load_file(file).items()}, file)


def cut_short(path: Path) -> None:
    file = path / adapters.WEIGHTS
    file.write_bytes(file.read_bytes()[:-64])


def without_config(path: Path) -> None:
    (path / "adapter_config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (of_another_shape, r"does not fit this base's transformer\.h\.0\.attn\.c_attn of shape \(\d+, \d+\)"),
        (of_layers_that_are_not_there, r"targets transformer\.h\.90\.attn\.c_attn, which this base does not have"),
        (cut_short, r"bytes of tensors, and its header says [\d,]+: train the adapter again"),
        (without_config, r"has no adapter_config\.json: train the adapter again"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_rest_goes_on(
    damage: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    loaded = base("tiny")
    runner = TorchRunner(loaded)
    bare = by_us(runner, None)
    fits = random_adapter.write(tmp_path / "fits", bases.find("tiny"), 0)
    damage(Path(shutil.copytree(fits, tmp_path / "damaged")))
    with pytest.raises(AdapterError, match=f"'damaged' cannot be loaded: .*{words}"):
        runner.add_adapter("damaged", tmp_path / "damaged")
    assert runner.adapters == ()
    assert torch.equal(by_us(runner, None), bare)
    runner.add_adapter("fits", fits)
    assert not torch.allclose(by_us(runner, "fits"), bare, atol=1e-2)


@pytest.mark.parametrize("beyond", [{"modules_to_save": ["lm_head"]}, {"use_dora": True}, {"peft_type": "IA3"}])
def test_more_than_a_lora_is_refused_by_name(beyond: dict[str, Any], tmp_path: Path) -> None:
    path = random_adapter.write(tmp_path / "more", bases.find("tiny"), 0, **beyond)
    runner = TorchRunner(base("tiny"))
    with pytest.raises(AdapterError, match=r"more than a LoRA \(.*\), which is not supported: train it with"):
        runner.add_adapter("more", path)
