"""Whole runs of the other ways to train: every weight, several processes, a base in 4 bits on disk, little memory."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from rich.console import Console
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from starling_server.backends.torch import loading
from starling_server.config import ModelConfig
from starling_server.errors import AdapterError
from starling_server.models import adapters, bases
from starling_server.models.bases import TINY_DIR
from starling_training.config import DataConfig, OptimConfig, TrainConfig
from starling_training.fit import methods
from starling_training.interrupt import Interrupt
from starling_training.sources import corpus
from starling_training.training_run import run

SOURCE = Path(__file__).parents[3] / "server" / "starling_server" / "engine"
SHORT = ("--base", "tiny", "--context-tokens", "128", "--max-tokens", "24", "--max-steps", "4", "--evaluations", "1")


def train(*arguments: str | Path, processes: int = 1) -> "subprocess.CompletedProcess[str]":
    """The command; with several processes as `accelerate launch` starts them on GPUs."""
    launcher = [f"{sys.executable}", "-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    command = [*launcher, "starling_training", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if processes > 1 else None
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env=environment)


def curve(output: Path) -> list[dict[str, Any]]:
    return json.loads((output / "manifest.json").read_text())["training"]["curve"]


@pytest.mark.slow
def test_every_weight_is_trained_to_a_base_of_its_own(tmp_path: Path) -> None:
    output = tmp_path / "own"
    packed = ("--packing", "--batch", "2", "--accumulation", "1")
    done = train(SOURCE, *SHORT, "--method", "full", "--holes", "3", *packed, "--output", output)
    assert done.returncode == 0, done.stderr
    assert f"--base {output}" in done.stdout.replace("\n", "")
    assert curve(output)[-1]["held_out"] < curve(output)[0]["held_out"]
    assert json.loads((output / "manifest.json").read_text())["results"]["holes"] == 3
    assert json.loads((output / "config.json").read_text())["dtype"] == "bfloat16"
    with loading.quiet():
        assert AutoModelForCausalLM.from_pretrained(output, dtype="auto").dtype == torch.bfloat16
    loaded = loading.load(ModelConfig(base=str(output)))
    tiny = loading.load(ModelConfig(base="tiny"))
    assert loaded.fingerprint != tiny.fingerprint
    assert (output / "model.safetensors").stat().st_size == pytest.approx(
        (TINY_DIR / "model.safetensors").stat().st_size, rel=0.01
    )
    with pytest.raises(AdapterError, match="--base"):
        adapters.find(str(output))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    flags = (*SHORT, "--holes", "0", "--dropout", "0", "--device", "cpu")
    assert train(SOURCE, *flags, "--output", tmp_path / "one").returncode == 0
    done = train(SOURCE, *flags, "--output", tmp_path / "two", processes=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Training ended") == 1
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    for name in ("train", "held_out"):
        assert two[-1][name] == pytest.approx(one[-1][name], abs=2e-3)
    assert one[-1]["held_out"] < one[0]["held_out"]
    uneven = train(SOURCE, *flags, "--accumulation", "3", "--output", tmp_path / "three", processes=2)
    assert uneven.returncode != 0
    assert "use a multiple" in uneven.stderr


@pytest.mark.slow
def test_a_base_that_is_in_four_bits_already(tmp_path: Path) -> None:
    base = tmp_path / "nf4"
    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    with loading.quiet():
        AutoModelForCausalLM.from_pretrained(TINY_DIR, quantization_config=four_bit).save_pretrained(base)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (base / name).write_bytes((TINY_DIR / name).read_bytes())
    done = train(SOURCE, *SHORT, "--base", base, "--holes", "2", "--output", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    assert curve(tmp_path / "a")[-1]["held_out"] < curve(tmp_path / "a")[0]["held_out"]
    refused = train(SOURCE, *SHORT, "--base", base, "--method", "lora", "--output", tmp_path / "b")
    assert refused.returncode == 2
    assert "--method qlora" in refused.stderr


@pytest.mark.parametrize(("method", "words"), [("gptq", "pip install gptqmodel"), ("hqq", "supported are")])
def test_a_base_in_a_form_that_needs_another_library(method: str, words: str, tmp_path: Path) -> None:
    for file in TINY_DIR.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": method}}))
    assert bases.find(str(tmp_path)).quantization == method
    refused = train(SOURCE, *SHORT, "--base", tmp_path, "--output", tmp_path / "a")
    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_where_memory_runs_out_forwards_get_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only thing that is not real is the limit: a forward over more than two examples says what CUDA says."""
    wrap: Callable[..., PeftModel] = methods.wrap

    def limited(*arguments: Any) -> PeftModel:
        model = wrap(*arguments)

        def check(_module: Any, _args: Any, named: dict[str, Any]) -> None:
            if model.training and len(named["input_ids"]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")

        model.register_forward_pre_hook(check, with_kwargs=True)
        return model

    monkeypatch.setattr(methods, "wrap", limited)
    said = io.StringIO()
    config = TrainConfig(
        sources=(str(SOURCE),),
        name="a",
        output=tmp_path / "a",
        holes=0,
        model=ModelConfig(base="tiny"),
        data=DataConfig(context_tokens=128, max_tokens=24),
        optim=OptimConfig(max_steps=3, batch=8, accumulation=1, evaluations=1),
    )
    result = run(config, corpus.read([SOURCE]), {}, Interrupt(), Console(file=said, width=200))
    assert result is not None
    assert "continuing with --batch 4 --accumulation 2" in said.getvalue()
    assert "--batch 2 --accumulation 4" in said.getvalue()
    assert result.curve.points[-1].step == 3
