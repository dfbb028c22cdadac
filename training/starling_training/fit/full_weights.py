"""Every weight of a base trained: in 32 bits, computed in 16, written in 16, served like any base."""

import json
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded
from starling_training import staging

CONFIG = "config.json"
CARRIED = ("*.json", "*.txt", "*.model")
"""What belongs to a base besides its weights: the tokenizer's files, whichever it has."""


def unfreeze(loaded: Loaded) -> PreTrainedModel:
    """The base of `loaded` with all weights learning and no dropout, as in its pre-training's end."""
    if loaded.device.type == "cuda":
        loading.save_memory(loaded.model)
    for module in loaded.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return loaded.model.requires_grad_(True)


def save(loaded: Loaded, folder: Path) -> None:
    """Write the model as it is now, a base of its own."""
    half = torch.bfloat16
    with staging.staged(folder, overwrite=True) as new:
        for pattern in CARRIED:
            for file in loaded.base.path.glob(pattern):
                if not file.name.endswith(".index.json"):
                    shutil.copyfile(file, new / file.name)
        cast = dict[int, torch.Tensor]()  # by place, so that a tied head stays the embedding
        state = loaded.model.state_dict()
        weights = {name: cast.setdefault(weight.data_ptr(), weight.to(half)) for name, weight in state.items()}
        with loading.quiet():
            loaded.model.save_pretrained(str(new), state_dict=weights)
        config = json.loads((new / CONFIG).read_text(encoding="utf-8"))
        config |= {"dtype": str(half).removeprefix("torch."), "use_cache": True}  # it says what training needed
        (new / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
