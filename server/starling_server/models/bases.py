"""Resolves `--base` to a local directory and checks its configuration. No torch, so that errors come early."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from starling_server import untrusted
from starling_server.errors import BaseModelError
from starling_server.models import safetensors_numpy
from starling_server.models.families import table as families
from starling_server.models.families.family import Family, Shape
from starling_server.models.families.table import FAMILIES, LIMITS
from starling_server.models.gguf_base import configuration, described, header, tensors
from starling_server.models.gguf_base.header import Header
from starling_server.models.safetensors_numpy import Stored
from starling_server.prompt.fim import Fim, Names, Order
from starling_server.untrusted import Unfit, shown

TINY = "tiny"
TINY_DIR = Path(__file__).parents[1] / "tiny"
ORDER = configuration.ORDER
"""Key of `config.json` with the order of prompts, where training taught another than the family's."""
NEEDED = ("config.json", "tokenizer.json")
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "README.md")
CONFIG_BYTES, TOKENIZER_BYTES = 1 << 20, 64 << 20
"""Maximum sizes of config.json and tokenizer.json; StarCoder's have 1 KB and 2 MB."""
HEAD_BYTES, SAMPLES, SAMPLE_BYTES = 1 << 20, 256, 4096
"""The bytes of a weights file that go into a fingerprint: its head, and samples spread evenly over the file."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base on this disk."""

    id: str
    """The name as given: `tiny`, a directory, a GGUF file or a Hub id."""
    path: Path
    """The folder with config.json, tokenizer.json and, except for a GGUF file, the weights."""
    revision: str | None
    config: dict[str, Any]
    gguf: Header | None = None
    """Of the GGUF file that the base is; then `path` only describes it."""

    @property
    def model_type(self) -> str:
        """Architecture by Hugging Face's name, one of `families.FAMILIES`."""
        return self.config["model_type"]

    @property
    def family(self) -> Family:
        """Its family's row."""
        return families.of(self.model_type)

    def fim(self, tokenizer: Names) -> Fim:
        """Its FIM format: the family's, in the order that an adapter taught it if one was merged in."""
        written = families.resolve(self.model_type, tokenizer)
        return replace(written, order=self.config.get(ORDER) or written.order)

    @property
    def quantization(self) -> str | None:
        """Quantisation method of the weights on this disk; None for 16 or 32 bits."""
        return (self.config.get("quantization_config") or {}).get("quant_method")

    @property
    def width(self) -> int:
        """Numbers in a token's vector."""
        return self.family.width(self.config)

    @property
    def context(self) -> int:
        """Positions that may be used (see `Family.context`)."""
        return self.family.context(self.config)


def find(name: str) -> Base:
    """Resolve `tiny`, a directory, a GGUF file or a Hub id, and check it; raises BaseModelError, OutputError."""
    path = _locate(name)
    if header.is_gguf(path):
        return _from_gguf(name, path)
    base = _read(name, path)
    files = _weights(base)
    if not files:
        raise BaseModelError(f"Base {name!r} has no .safetensors weights: download it again, or convert it.")
    try:
        safetensors_numpy.check_one_form(path)
        _check_shapes(base, safetensors_numpy.listed(files))
    except PermissionError as error:
        raise unreadable(Path(error.filename or path), error) from error
    except (OSError, Unfit) as error:
        raise _damaged_weights(name, error) from error
    return base


def is_gguf(name: str) -> bool:
    """Whether `--base` names a GGUF file, or a folder with one and no other form of a base."""
    path = Path(name).expanduser()
    if path.is_dir() and name != TINY:
        path = _only_gguf(name, path)
    return header.is_gguf(path)


def find_vocabulary(name: str) -> Base:
    """Like `find` for a base whose weights another server holds: only config and tokenizer must be on this disk."""
    return _read(name, _locate(name, ["config.json", "tokenizer.json"]))


def _from_gguf(name: str, path: Path) -> Base:
    """The base that a GGUF file is."""
    found = described.describe(name, path)
    base = replace(_read(name, found.folder), gguf=found.header)
    _shape(base)
    rows, width = found.header.tensors[configuration.EMBEDDING_TABLE].shape
    if width != base.width:
        raise BaseModelError(
            f"Base {name!r} has a damaged header (an embedding of {rows} times {width} where it says {base.width}): "
            "download it again."
        )
    return base


def has_weights(base: Base) -> bool:
    """Whether the weights of `base` are on this disk; raises BaseModelError for a damaged index."""
    return base.gguf is not None or bool(_weights(base))


def _read(name: str, path: Path) -> Base:
    for needed in NEEDED:
        if not os.path.isfile(path / needed):
            raise BaseModelError(f"Base {name!r} has no {needed}: name a directory in Hugging Face's model layout.")
    if os.stat(path / "tokenizer.json").st_size > TOKENIZER_BYTES:
        raise BaseModelError(
            f"Base {name!r} has a tokenizer.json of over {TOKENIZER_BYTES >> 20} MiB: choose another base."
        )
    return Base(name, path, _revision(name, path), _read_config(name, path))


def weights(base: Base) -> int:
    """Number of weights, estimated from the size of their files."""
    if base.gguf is not None:
        return configuration.weights(base.gguf)
    kind = str(base.config.get("dtype") or base.config.get("torch_dtype") or "bfloat16")
    return sum(file.stat().st_size for file in _weights(base)) // (4 if kind == "float32" else 2)


def fingerprint(base: Base) -> str:
    """Hash of shape, vocabulary and weights: an adapter fits only a base with the same hash.

    The hash covers the size of each weights file, its first MiB (tensor table and first tensors) and 256 samples of
    4 KiB. Reading them takes milliseconds for a 30 GB base, and a model fine-tuned from it in any layer still differs.
    Raises BaseModelError where a file cannot be read.
    """
    digest = hashlib.sha256()
    shape = {key: value for key, value in base.config.items() if key != "transformers_version"}
    digest.update(json.dumps(shape, sort_keys=True).encode())
    files = _weights(base) if base.gguf is None else base.gguf.files
    for file in (base.path / "tokenizer.json", *files):
        try:
            for part in [file.read_bytes()] if file.suffix == ".json" else _sampled(file):
                digest.update(part)
        except OSError as error:
            raise unreadable(file, error) from error
    return digest.hexdigest()


def kin(base: Base) -> str:
    """Hash of shape and norms: the same for every GGUF form of a base and for its Hugging Face form.

    Conversions keep norms in float32 and quantise matrices only. A model that was fine-tuned as a whole has other
    norms, whatever its name; one into which a LoRA was merged has the same. Raises BaseModelError.
    """
    sizes = _shape(base)
    shape = (base.model_type, sizes.layers, sizes.width, sizes.heads, sizes.key_heads, sizes.head, sizes.inner)
    try:
        if base.gguf is None:
            listed = safetensors_numpy.listed(_weights(base)).items()
            norms = (found.read() for name, found in listed if _is_norm(name, found.shape, sizes.width))
        else:
            table = base.gguf.tensors.items()
            norms = (tensors.values(found) for name, found in table if _is_norm(name, found.shape, sizes.width))
        vectors = sorted(hashlib.sha256(norm.tobytes()).hexdigest() for norm in norms)
    except (OSError, ValueError) as error:
        raise _damaged_weights(base.id, Unfit(str(error))) from error
    return hashlib.sha256(json.dumps([shape, vectors]).encode()).hexdigest()


def _shape(base: Base) -> Shape:
    """Its sizes; raises BaseModelError where one is missing."""
    try:
        return base.family.shape(base.config)
    except KeyError as error:
        where = "config.json" if base.gguf is None else "header"
        raise BaseModelError(
            f"Base {base.id!r} has a damaged {where} ({error.args[0]} is missing): download it again."
        ) from error


def _is_norm(name: str, shape: tuple[int, ...], width: int) -> bool:
    """Whether a tensor is a norm's; one that is longer than a token's vector is none, whatever its name."""
    return len(shape) == 1 and shape[0] <= width and ("norm" in name or ".ln_" in name)


def _sampled(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    yield str(size).encode()
    with file.open("rb") as stream:
        yield stream.read(HEAD_BYTES)
        for sample in range(SAMPLES):
            stream.seek(size * sample // SAMPLES)
            yield stream.read(SAMPLE_BYTES)


def unreadable(file: Path, error: OSError) -> BaseModelError:
    """The error for a file of a base that exists and cannot be read; its content may be intact."""
    said = (error.strerror or str(error)).lower()
    return BaseModelError(f"{file} cannot be read ({said}): make it readable, or name another base.")


def _weights(base: Base) -> list[Path]:
    """The files that hold the weights, an empty list without any; raises BaseModelError for a damaged index."""
    try:
        return safetensors_numpy.weights_of(base.path)
    except (OSError, Unfit) as error:
        raise _damaged_weights(base.id, error) from error


def _damaged_weights(name: str, error: OSError | Unfit) -> BaseModelError:
    reason = str(error) if isinstance(error, Unfit) else error.strerror
    return BaseModelError(f"The weights of base {name!r} cannot be read ({reason}): download it again.")


def _check_shapes(base: Base, stored: Mapping[str, Stored]) -> None:
    """Raise Unfit where the weights do not have the sizes in config.json, by which memory is allocated."""
    config, family = base.config, base.family
    tables = {family.embedding: family.keys.vocabulary, family.position_embedding: family.keys.positions}
    for name, tensor in stored.items():
        key = next((key for table, key in tables.items() if table and name.endswith(f".{table}.weight")), None)
        if key is not None and tensor.shape != (config[key], base.width):
            raise Unfit(f"{shown(name)} has the shape {tensor.shape}, and config.json says {(config[key], base.width)}")
    block = re.compile(rf"\.{family.blocks}\.(\d{{1,4}})\.")
    blocks = {int(match[1]) for name in stored if (match := block.search(name))}
    if max(config.get(row.keys.layers) or 0 for row in FAMILIES.values()) > len(blocks):
        raise Unfit(f"they have {len(blocks)} layers, fewer than config.json says")


def _locate(name: str, files: Sequence[str] = MODEL_FILES) -> Path:
    if name == TINY:
        return TINY_DIR
    path = Path(name).expanduser()
    if header.is_gguf(path):
        return Path(os.path.abspath(path))
    if path.is_dir():
        return _only_gguf(name, path.resolve())
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise BaseModelError(
            f"There is no base {name!r}: name a directory, a GGUF file, a Hub id such as "
            "bigcode/starcoder2-3b, or tiny."
        )
    return _download(name, files)


def _only_gguf(name: str, folder: Path) -> Path:
    """The GGUF file in a folder that holds nothing else of a base; otherwise the folder."""
    if (folder / "config.json").exists():
        return folder
    files = sorted(folder.glob(f"*{header.SUFFIX}"))
    files = [file for file in files if not header.is_later_part(file)]
    if len(files) > 1:
        raise BaseModelError(
            f"Base {name!r} holds several GGUF files ({', '.join(shown(file.name) for file in files[:5])}): name one."
        )
    return files[0] if files else folder


def _download(name: str, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except Exception as error:  # the Hub client raises a dozen kinds; the user can do the same about all of them
        raise BaseModelError(
            f"Base {name!r} is not on this disk and could not be downloaded ({type(error).__name__}): "
            "check the name, the network and `hf auth login`, or give a local directory."
        ) from error


def _revision(name: str, path: Path) -> str | None:
    return path.name if path.parent.name == "snapshots" and name != TINY else None


def _read_config(name: str, path: Path) -> dict[str, Any]:
    try:
        config = untrusted.parsed(untrusted.read(path / "config.json", CONFIG_BYTES))
        model_type = shown(config.get("model_type"))
    except (OSError, Unfit) as error:
        raise _damaged(name, str(error)) from error
    if model_type not in FAMILIES:
        raise BaseModelError(
            f"Base {name!r} is a {model_type!r} model; supported are {families.supported()}: choose one of those."
        )
    _check_config(name, FAMILIES[model_type], config)
    return config


def _check_config(name: str, family: Family, config: Mapping[str, Any]) -> None:
    """Raise BaseModelError for sizes that are not numbers, or that no machine has the memory for."""
    for key, most in LIMITS.items():
        value = config.get(key)
        if value is not None and (type(value) is not int or not 0 < value <= most):
            raise _damaged(name, f"{key} is {shown(value)}")
    needed = (family.keys.vocabulary, family.keys.width, family.keys.positions)
    if missing := next((key for key in needed if not config.get(key)), None):
        raise _damaged(name, f"{missing} is missing")
    if config.get(ORDER) not in (None, *get_args(Order)):
        raise _damaged(name, f"{ORDER} is {shown(config[ORDER])}")
    quantised: Any = config.get("quantization_config") or {}
    if not isinstance(quantised, dict) or not isinstance(quantised.get("quant_method", ""), str):  # pyright: ignore[reportUnknownMemberType]
        raise _damaged(name, "quantization_config is not an object with a quant_method")


def _damaged(name: str, reason: str) -> BaseModelError:
    return BaseModelError(f"Base {name!r} has a damaged config.json ({reason}): download the base again.")
