"""A GGUF base as an ordinary folder for torch: dequantised once into the cache, one tensor in memory at a time.

transformers can load a GGUF file too (`gguf_file=`). It holds the whole model in float32 meanwhile, has no loader for
StarCoder's architecture, and its result cannot be saved without a change.
"""

import json
import logging
import os
import shutil
from dataclasses import replace
from errno import ENOSPC
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from starling_server.errors import BaseModelError, OutputError
from starling_server.models import bases
from starling_server.models.bases import Base
from starling_server.models.families.family import Shape
from starling_server.models.gguf_base import described, tensors
from starling_server.models.gguf_base.configuration import OWN_FREQUENCIES
from starling_server.models.gguf_base.header import Header
from starling_server.models.gguf_base.tensors import Floats
from starling_server.models.safetensors_numpy import INDEX
from starling_server.untrusted import Unfit, refusal, shown

log = logging.getLogger(__name__)
VERSION = 1
"""Of what is written: a higher one makes every folder stale."""
SHARD_BYTES = 2 << 30
FILES = ("config.json", "tokenizer.json")


def as_folder(base: Base) -> Base:
    """The same base with its weights as safetensors in 16 bits, under the same name.

    Raises BaseModelError for rotations or types of weights that only llama.cpp computes, OutputError for a full disk.
    """
    assert base.gguf is not None
    if OWN_FREQUENCIES in base.gguf.tensors:
        raise BaseModelError(f"Base {base.id!r} has rotary frequencies of its own: use it with --runner ggml.")
    folder = described.home() / "dequantised" / f"{bases.fingerprint(base)[: described.DIGITS]}-{VERSION}"
    if not (folder / INDEX).is_file():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(base, base.gguf, folder)
        except Unfit as error:
            raise BaseModelError(refusal(base.gguf.files[0], error, "use it with --runner ggml")) from error
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"The cache {folder.parent} cannot be written to ({reason}): free some space, or name "
                "another folder in STARLING_CACHE_DIR."
            ) from error
    return replace(base, path=folder, gguf=None)


def _write(base: Base, header: Header, folder: Path) -> None:
    """Write the folder in a temporary place and move it; another process may do the same meanwhile."""
    size = 2 * bases.weights(base)
    if shutil.disk_usage(folder.parent).free < size:
        raise OSError(ENOSPC, f"{size / 1e9:.1f} GB are needed for the weights in 16 bits")
    log.warning("dequantising base %s to %s, once (%.1f GB)", base.id, folder, size / 1e9)
    with TemporaryDirectory(prefix=".writing-", dir=folder.parent) as room:
        made = Path(room) / "made"
        made.mkdir()
        for name in FILES:
            shutil.copyfile(base.path / name, made / name)
        places = _shards(base, header, made)
        (made / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")
        try:
            os.replace(made, folder)
        except OSError:
            if not (folder / INDEX).is_file():
                raise


def _shards(base: Base, header: Header, folder: Path) -> dict[str, str]:
    """Write every tensor; returns the file of each."""
    sizes, names = base.family.shape(base.config), _names(base)
    places, shard, held = dict[str, str](), dict[str, torch.Tensor](), 0
    for done, (name, own) in enumerate(names.items(), 1):
        if own not in header.tensors:
            raise BaseModelError(f"Base {base.id!r} lacks {own}: download it again.")
        found = torch.from_numpy(_in_order(base, sizes, own, tensors.values(header.tensors[own])).copy())
        shard[name] = found if found.dim() == 1 else found.to(torch.bfloat16)  # norms stay what they were, exactly
        held += shard[name].nbytes
        if held > SHARD_BYTES or done == len(names):
            file = f"model-{len(set(places.values())) + 1:05}.safetensors"
            save_file(shard, folder / file, metadata={"format": "pt"})
            places |= dict.fromkeys(shard, file)
            shard, held = {}, 0
            log.info("%d of %d tensors", done, len(names))
    return places


def _names(base: Base) -> dict[str, str]:
    """GGUF's name of each of transformers' tensors."""
    from gguf import get_tensor_name_map
    from gguf.constants import MODEL_ARCH_NAMES

    terms = base.family.gguf
    assert terms is not None
    numbers = {name: number for number, name in MODEL_ARCH_NAMES.items()}
    known = get_tensor_name_map(numbers[terms.architecture], base.family.shape(base.config).layers)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base.path, local_files_only=True))
    except Exception as error:  # the header of an untrusted file can raise anything in transformers
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BaseModelError(
            f"Base {base.id!r} is none for torch ({shown(first)}): use it with --runner ggml."
        ) from error
    tied = base.config["tie_word_embeddings"]
    names = [name for name in model.state_dict() if not (tied and name == "lm_head.weight")]
    names = [name for name in names if not name.endswith(base.family.unread or ("\0",))]
    return {name: known.get_name(name, (".weight", ".bias")) or name for name in names}


def _in_order(base: Base, sizes: Shape, name: str, values: Floats) -> Floats:
    """A tensor with its rows in transformers' order: `Architecture.rows` of the export, backwards."""
    layer = next((part for part in sizes.parts if f".{part.gguf}." in name), None)
    if layer is None or base.family.gguf is None or layer.gguf not in base.family.gguf.interleaved:
        return values
    if values.shape[0] != sizes.size(layer.outputs) or sizes.head % 2:
        raise BaseModelError(f"Base {base.id!r} has a damaged header ({name} is {values.shape}): download it again.")
    heads = sizes.size(layer.outputs) // sizes.head
    neighbours = values.reshape(heads, sizes.head // 2, 2, *values.shape[1:])
    return neighbours.swapaxes(1, 2).reshape(values.shape)
