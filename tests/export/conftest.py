"""Adapters to export: one that the real command trained, and random ones of every shape that LoRA has."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from support.once import once

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded
from starling_server.config import ModelConfig
from starling_server.models import bases
from starling_server.models.bases import Base

REPOSITORY = Path(__file__).parents[2]
SHORT = (
    "--base", "tiny", "--quantize", "nf4", "--context-tokens", "192", "--max-tokens", "32", "--holes", "0",
    "--max-steps", "8", "--evaluations", "1", "--accumulation", "2", "--learning-rate", "0.003",
)  # fmt: skip

PATTERNS: dict[str, dict[str, Any]] = {
    "plain": {"r": 8, "lora_alpha": 16},
    "rslora": {"r": 8, "lora_alpha": 16, "use_rslora": True},
    "patterns": {
        "r": 4, "lora_alpha": 8,
        "rank_pattern": {"c_proj": 2, "mlp.c_fc": 6}, "alpha_pattern": {"h.1.*": 3, "mlp.c_proj": 32},
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real code."""

    def make(folder: Path) -> None:
        (folder / "project").mkdir()
        for file in (REPOSITORY / "server" / "starling_server").rglob("*.py"):
            shutil.copy(file, folder / "project")

    return once(tmp_path_factory, "exported", make) / "project"


@pytest.fixture(scope="session")
def trained(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of a few steps over the bundled base in 4 bits, by the command."""

    def make(folder: Path) -> None:
        cache = {"STARLING_CACHE_DIR": str(folder / "cache")}
        command = [sys.executable, "-m", "starling_training", str(project), "--output", str(folder / "mine"), *SHORT]
        subprocess.run(command, check=True, env={**os.environ, **cache}, stdout=subprocess.DEVNULL)

    return once(tmp_path_factory, "trained", make) / "mine"


@pytest.fixture(scope="session")
def tiny_base() -> Base:
    return bases.find("tiny")


@pytest.fixture(scope="session")
def four_bits() -> Loaded:
    """The bundled base in 4 bits, as training holds it: no forward repacks its weights."""
    loaded = loading.load(ModelConfig(base="tiny", quantize="nf4", device="cpu"))
    loading.keep_four_bit_weights_trainable(loaded.model)
    return loaded


@pytest.fixture(scope="session")
def lora_over(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Base, str], Path]:
    """A random adapter over a base, of the shape that `PATTERNS` has under this name."""

    def make(base: Base, name: str) -> Path:
        loaded = loading.load(ModelConfig(base=str(base.path), quantize="none", device="cpu", dtype="float32"))
        torch.manual_seed(1)
        config = peft.LoraConfig(
            target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False, **PATTERNS[name]
        )
        with loading.quiet():
            wrapped = peft.get_peft_model(loaded.model, config)
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.data *= 0.3  # a change the size of the weights themselves would drown everything
        folder = tmp_path_factory.mktemp(name) / "random"
        wrapped.save_pretrained(str(folder))
        return folder

    return make
