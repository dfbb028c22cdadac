"""Weights in several files."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file


def in_two_shards(folder: Path) -> list[str]:
    """Split the weights in `folder`; the names of both files."""
    weights = load_file(folder / "model.safetensors")
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    places = {name: names[number % 2] for number, name in enumerate(sorted(weights))}
    for file in names:
        save_file({name: weights[name] for name, place in places.items() if place == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return names
