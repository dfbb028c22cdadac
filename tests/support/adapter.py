"""A random adapter over a GPTBigCode base, written without torch."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from starling_server.models import bases
from starling_server.models.bases import Base
from starling_server.models.manifest import BaseRecord, FimRecord, Manifest

RANK = 4


def write(folder: Path, base: Base, seed: int = 0, repository_tokens: int = 0, **config: object) -> Path:
    """A LoRA of every attention layer in `folder`, its manifest beside it; `config` goes over peft's settings."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, width = np.random.default_rng(seed), base.config["n_embd"]
    outputs = {"c_attn": width + 2 * width // base.config["n_head"], "c_proj": width}
    matrices: dict[str, np.ndarray] = {}
    for block in range(base.config["n_layer"]):
        for layer, size in outputs.items():
            name = f"base_model.model.transformer.h.{block}.attn.{layer}"
            matrices[f"{name}.lora_A.weight"] = rng.normal(0, 0.1, (RANK, width)).astype(np.float32)
            matrices[f"{name}.lora_B.weight"] = rng.normal(0, 0.1, (size, RANK)).astype(np.float32)
    save_file(matrices, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    manifest = Manifest(
        name=folder.name,
        created=datetime.now(UTC),
        base=BaseRecord(id=base.id, fingerprint=bases.fingerprint(base), model_type=base.model_type),
        fim=FimRecord(
            family=base.model_type, order="spm", context_tokens=512, max_tokens=64, repository_tokens=repository_tokens
        ),
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder
