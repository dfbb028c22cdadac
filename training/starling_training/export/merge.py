"""A base's weights with an adapter added, as a model folder in Hugging Face's layout.

Each of the base's files is read, changed and written in turn, so a large base needs the memory of one of its files.
Sums are made in float32 and rounded to bfloat16 once.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from starling_server import bases, tensors, untrusted
from starling_server.bases import Base
from starling_server.errors import AdapterError, BaseModelError
from starling_server.lora import Lora
from starling_server.manifest import MANIFEST
from starling_server.untrusted import Unfit

Weights = Mapping[str, Callable[[], Tensor]]
"""By a layer's name: how to get the weight that the adapter is added to."""
PRIVATE = frozenset({MANIFEST, "corpus.json"})
"""What `--method full` leaves beside a base that it makes: accounts of a source, for its owner."""
COPIED = frozenset({".json", ".txt", ".jinja"})
"""What is neither weights nor prose: configuration and tokenizer."""


def write(base: Base, lora: Lora, others: Weights, folder: Path) -> None:
    """Write `base` plus `lora` into the empty `folder`; `others` stand in for the base's own weights.

    Raises BaseModelError, and AdapterError where a layer of the adapter is not in the base.
    """
    left = set(lora.pairs)
    size = 0
    for file in tensors.weights_of(base.path):
        merged = {name: _merged(name, weight, lora, others, left) for name, weight in _read(base, file).items()}
        save_file(merged, folder / file.name, {"format": "pt"})
        size += sum(weight.numel() * weight.element_size() for weight in merged.values())
    if left:
        raise AdapterError(f"The adapter changes {min(left)}, which is no layer of base {base.id!r}: train it again.")
    _copy_rest(base, folder, size)


def _merged(name: str, weight: Tensor, lora: Lora, others: Weights, left: set[str]) -> Tensor:
    module = name.removesuffix(".weight")
    if module in others and name != module:
        weight = others[module]()
    if module in left:
        left.remove(module)
        weight = weight.float() + torch.from_numpy(lora.pairs[module].delta())
    return weight.to(torch.bfloat16).contiguous() if weight.is_floating_point() else weight


def _read(base: Base, file: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(file)
    except PermissionError as error:
        raise bases.unreadable(file, error) from error
    except Exception as error:  # safetensors has an error of its own
        raise BaseModelError(f"The weights of base {base.id!r} cannot be read: download it again.") from error


def _copy_rest(base: Base, folder: Path, size: int) -> None:
    for file in base.path.iterdir():
        if file.is_file() and file.name not in PRIVATE and (file.suffix in COPIED or file.name.startswith("LICENSE")):
            shutil.copyfile(file, folder / file.name)
    config = {key: value for key, value in base.config.items() if key != "quantization_config"}
    config |= {key: "bfloat16" for key in ("dtype", "torch_dtype") if key in config} or {"dtype": "bfloat16"}
    _dump(config, folder / "config.json")
    with suppress(FileNotFoundError, Unfit):  # a damaged one beside a whole file was never read
        index = untrusted.parsed(untrusted.read(folder / tensors.INDEX, tensors.INDEX_BYTES))
        if (folder / tensors.WHOLE).is_file():
            (folder / tensors.INDEX).unlink()  # shards beside a whole file are not read, nor written
        else:
            _dump(index | {"metadata": {"total_size": size}}, folder / tensors.INDEX)


def _dump(content: object, path: Path) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
