"""`write_base` and `write_adapter` write GGUF files for llama.cpp, one tensor at a time.

Both move the file to its path when it is complete. They depend only on their arguments, so their output can be cached
by the base's fingerprint.
"""

import errno
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFType, GGUFWriter, LlamaFileType, quants
from gguf.constants import Keys
from numpy.typing import NDArray

from starling_server.backends.llamacpp.gguf_export import Kind, architecture, vocabulary
from starling_server.backends.llamacpp.gguf_export.architecture import POSITIONS, SUFFIXES, Architecture
from starling_server.errors import BaseModelError
from starling_server.models import bases, lora, safetensors_numpy
from starling_server.models.bases import Base
from starling_server.models.gguf_base.configuration import ORDER_FIELD
from starling_server.models.lora import Outline
from starling_server.models.safetensors_numpy import Floats, Stored
from starling_server.untrusted import shown

TYPES: dict[Kind, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
"""The type of a matrix, and of the file as a whole."""
SHARP = ("token_embd.weight", "output.weight")
"""Matrices that lose most with 4 bits (a token has one row only): they get Q8_0; llama.cpp keeps more bits too."""
VERSION = 2
"""Version of the quantised formats, GGML_QNT_VERSION."""
Plan = dict[str, tuple[Callable[[], Floats], tuple[int, ...], GGMLQuantizationType]]
"""By name: how to get a tensor, its shape, what it is stored as."""


def write_base(base: Base, path: Path, kind: Kind = "f16", name: str | None = None) -> None:
    """Write `base` to `path` with its matrices as `kind`; vectors and positions stay float32.

    `name` is llama.cpp's name of the model, by default the base's id. Raises BaseModelError.
    """
    found, words = architecture.of(base), vocabulary.of(base)
    try:
        stored = safetensors_numpy.listed(safetensors_numpy.weights_of(base.path))
        plan = _base_plan(base, found, stored, kind)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaseModelError(
            f"The weights of base {base.id!r} cannot be read ({shown(error)}): download it again."
        ) from error
    with _writer(path, found) as writer:
        writer.add_type(GGUFType.MODEL)
        writer.add_name(name or base.id)
        writer.add_file_type(TYPES[kind][1])
        writer.add_quantization_version(VERSION)
        if order := base.config.get(bases.ORDER):
            writer.add_string(ORDER_FIELD, order)
        found.write(writer)
        words.write(writer)
        _write(writer, plan)


def write_adapter(adapter: Path, base: Base, path: Path) -> None:
    """Write the LoRA in the folder `adapter`, trained over `base`, to `path`, in float32.

    llama.cpp adds `alpha / rank * B @ A` with one alpha for all layers. Where a layer's factor differs (rsLoRA, or
    patterns of ranks and alphas), the quotient is multiplied into its B. Raises AdapterError, BaseModelError.
    """
    found = architecture.of(base)
    outline, names = outlined(adapter, base)
    read, plan = outline.read(), Plan()
    for module, pair in read.pairs.items():
        name = names[module]
        b = found.rows(name, pair.b) * np.float32(pair.factor * pair.rank / read.alpha)
        for side, matrix in (("a", pair.a), ("b", b)):
            plan[f"{name}.lora_{side}"] = (lambda matrix=matrix: matrix, matrix.shape, GGMLQuantizationType.F32)
    with _writer(path, found) as writer:
        writer.add_type(GGUFType.ADAPTER)
        writer.add_name(adapter.name)
        writer.add_string(Keys.Adapter.TYPE, "lora")
        writer.add_float32(Keys.Adapter.LORA_ALPHA, read.alpha)
        _write(writer, plan)


def outlined(adapter: Path, base: Base) -> tuple[Outline, dict[str, str]]:
    """The headers of the LoRA in the folder `adapter`, and GGUF's name of each of its layers.

    Raises AdapterError where it is damaged or does not fit the base, BaseModelError where the base is damaged.
    """
    found, outline = architecture.of(base), lora.outline(adapter)
    shapes = _shapes(base, found)
    names = {module: found.names.get_name(f"{module}.weight", SUFFIXES) or "" for module in outline.pairs}

    def shape(module: str) -> tuple[int, int] | None:
        own = shapes.get(names[module], ()) if module != "lm_head" else ()
        return (own[0], own[1]) if len(own) == 2 else None

    outline.check(shape)
    return outline, names


def _shapes(base: Base, found: Architecture) -> dict[str | None, tuple[int, ...]]:
    """Shapes of the base's tensors by GGUF's names."""
    if base.gguf is not None:
        return {name: tensor.shape for name, tensor in base.gguf.tensors.items()}
    try:
        stored = safetensors_numpy.listed(safetensors_numpy.weights_of(base.path))
    except (OSError, ValueError) as error:
        raise BaseModelError(
            f"The weights of base {base.id!r} cannot be read ({shown(error)}): download it again."
        ) from error
    return {found.names.get_name(source, SUFFIXES): tensor.shape for source, tensor in stored.items()}


def _base_plan(base: Base, found: Architecture, stored: Mapping[str, Stored], kind: Kind) -> Plan:
    names, plan = found.names, Plan()
    for source, tensor in stored.items():
        if source.endswith(found.skipped):
            continue
        name = names.get_name(source, SUFFIXES)
        if name is None:
            raise BaseModelError(
                f"Base {base.id!r} holds {source}, which {found.name} models do not have: name another base."
            )
        plan[name] = (partial(_rows, found, name, tensor), tensor.shape, _stored_as(name, tensor.shape, kind))
    missing = [name for name in found.needed if name not in plan]
    if missing:
        raise BaseModelError(f"Base {base.id!r} lacks {missing[0]} and {len(missing) - 1} more: download it again.")
    return plan


def _rows(found: Architecture, name: str, tensor: Stored) -> Floats:
    return found.rows(name, tensor.read())


def _stored_as(name: str, shape: tuple[int, ...], kind: Kind) -> GGMLQuantizationType:
    if len(shape) < 2 or name == POSITIONS:  # positions as llama.cpp's converter has them
        return GGMLQuantizationType.F32
    wanted = "q8_0" if kind == "q4_0" and name in SHARP else kind
    quantised = TYPES[wanted][0]
    return quantised if shape[-1] % GGML_QUANT_SIZES[quantised][0] == 0 else GGMLQuantizationType.F16


def _write(writer: GGUFWriter, plan: Plan) -> None:
    """Write header and table, then the tensors one by one, with one in memory at a time."""
    for name, (_, shape, kind) in plan.items():
        block, size = GGML_QUANT_SIZES[kind]
        row = shape[-1] // block * size
        count = int(np.prod(shape[:-1], dtype=np.int64))
        writer.add_tensor_info(name, shape, np.dtype(np.float32), count * row, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, (read, _, kind) in plan.items():
        _put(writer, _encoded(name, read(), kind))


def _put(writer: GGUFWriter, data: NDArray[Any]) -> None:
    """Write one tensor; a short write, for which numpy raises an OSError without a number, becomes ENOSPC."""
    try:
        writer.write_tensor_data(data)
    except OSError as error:
        if error.errno is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


def _encoded(name: str, values: Floats, kind: GGMLQuantizationType) -> NDArray[Any]:
    if kind is GGMLQuantizationType.F16 and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
        raise BaseModelError(f"{name} has values that float16 cannot hold: use bf16 for --gguf-type or --ggml-type.")
    return quants.quantize(np.ascontiguousarray(values), kind)


@contextmanager
def _writer(path: Path, found: Architecture) -> Generator[GGUFWriter]:
    """A writer to a file beside `path`, moved to `path` when the block ends without an error."""
    part = path.with_name(f".{path.name}.part")
    writer = GGUFWriter(part, found.name)
    try:
        yield writer
        writer.close()
        os.replace(part, path)
    finally:
        with suppress(OSError):  # the file is removed anyway
            writer.close()
        part.unlink(missing_ok=True)
