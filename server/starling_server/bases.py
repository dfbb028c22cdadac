"""From what `--base` says to a local directory whose config is known to work. No torch: cheap and early errors."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starling_server import json_file
from starling_server.errors import BaseModelError
from starling_server.fim import FAMILIES

TINY = "tiny"
TINY_DIR = Path(__file__).parent / "tiny"
NEEDED = ("config.json", "tokenizer.json")
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "README.md")
HEAD_BYTES, SAMPLES, SAMPLE_BYTES = 1 << 20, 256, 4096
"""What of each weights file goes into a fingerprint: its first bytes, and samples evenly spread over all of it."""

AUTO_BASES = (("bigcode/starcoder", 16), ("bigcode/starcoder2-7b", 8), ("bigcode/starcoder2-3b", 4))
"""Base and the GPU memory it wants, in GiB: 4-bit weights (1.5, 3.7, 7.8 GB for 3B, 7B, 15.5B linear layers) plus
16-bit embeddings, caches and the desktop's share."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base on this disk."""

    id: str
    """As it was named."""
    path: Path
    revision: str | None
    config: dict[str, Any]

    @property
    def model_type(self) -> str:
        """Architecture by Hugging Face's name, one of `fim.FAMILIES`."""
        return self.config["model_type"]

    @property
    def quantization(self) -> str | None:
        """By which method its weights are quantised on this disk; None for 16 or 32 bits."""
        return (self.config.get("quantization_config") or {}).get("quant_method")

    @property
    def width(self) -> int:
        """Numbers in a token's vector."""
        return self.config.get("n_embd") or self.config["hidden_size"]

    @property
    def context(self) -> int:
        """Positions that may be used: what was learnt, or the attention window where it is smaller.

        A rolling window cannot be rewound, so it is never exceeded.
        """
        learnt = self.config.get("n_positions") or self.config["max_position_embeddings"]
        return min(learnt, self.config.get("sliding_window") or learnt)


def choose(gpu_bytes: int) -> tuple[str, str]:
    """The `auto` base for a GPU with this much memory (0: no GPU), and the reason in words."""
    if not gpu_bytes:
        return TINY, "no CUDA GPU here, so the bundled demonstration base"
    gib = gpu_bytes / 2**30
    for name, needed in AUTO_BASES:
        if gib >= needed:
            return name, f"the largest whose 4-bit form fits a GPU of {gib:.0f} GiB with room to spare"
    return TINY, f"a GPU of {gib:.0f} GiB is too small for a StarCoder in 4 bits"


def find(name: str) -> Base:
    """Resolve `tiny`, a directory or a Hub id, and check it; raises BaseModelError."""
    path = _locate(name)
    base = _read(name, path)
    if not any(_weights(path)):
        raise BaseModelError(f"Base {name!r} has no .safetensors weights: download it again, or convert it.")
    for file in _weights(path):
        try:
            file.open("rb").close()
        except OSError as error:
            raise unreadable(file, error) from error
    return base


def find_vocabulary(name: str) -> Base:
    """The same for one whose weights another server holds: no more than config and tokenizer has to be here."""
    return _read(name, _locate(name, ["config.json", "tokenizer.json"]))


def has_weights(base: Base) -> bool:
    """Whether its weights are on this disk too."""
    return any(_weights(base.path))


def _read(name: str, path: Path) -> Base:
    for needed in NEEDED:
        if not (path / needed).is_file():
            raise BaseModelError(f"Base {name!r} has no {needed}: name a directory in Hugging Face's model layout.")
    return Base(name, path, _revision(name, path), _read_config(name, path))


def weights(base: Base) -> int:
    """Number of weights, by the size of their files."""
    kind = str(base.config.get("dtype") or base.config.get("torch_dtype") or "bfloat16")
    return sum(file.stat().st_size for file in _weights(base.path)) // (4 if kind == "float32" else 2)


def fingerprint(base: Base) -> str:
    """Hash of what makes two bases the same for an adapter: shape, vocabulary and weights.

    Of each weights file the first MiB (its tensor table and first tensors), 256 samples of 4 KiB and the size are
    read, so that a 30 GB base costs milliseconds and a model fine-tuned from it in any layer still differs. Raises
    BaseModelError where one of the files cannot be read.
    """
    digest = hashlib.sha256()
    shape = {key: value for key, value in base.config.items() if key != "transformers_version"}
    digest.update(json.dumps(shape, sort_keys=True).encode())
    for file in (base.path / "tokenizer.json", *sorted(_weights(base.path))):
        try:
            for part in [file.read_bytes()] if file.suffix == ".json" else _sampled(file):
                digest.update(part)
        except OSError as error:
            raise unreadable(file, error) from error
    return digest.hexdigest()


def _sampled(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    yield str(size).encode()
    with file.open("rb") as stream:
        yield stream.read(HEAD_BYTES)
        for sample in range(SAMPLES):
            stream.seek(size * sample // SAMPLES)
            yield stream.read(SAMPLE_BYTES)


def unreadable(file: Path, error: OSError) -> BaseModelError:
    """What to say of a base's file that is there and cannot be read: it may be sound."""
    said = (error.strerror or str(error)).lower()
    return BaseModelError(f"{file} cannot be read ({said}): mend that, or name another base.")


def _weights(path: Path) -> Iterator[Path]:
    return path.glob("*.safetensors")


def _locate(name: str, files: Sequence[str] = MODEL_FILES) -> Path:
    if name == TINY:
        return TINY_DIR
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise BaseModelError(
            f"There is no base {name!r}: name a directory, a Hub id such as bigcode/starcoder2-3b, or tiny."
        )
    return _download(name, files)


def _download(name: str, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except Exception as error:  # the Hub client raises a dozen kinds; all mean the same to the user
        raise BaseModelError(
            f"Base {name!r} is not on this disk and could not be downloaded ({type(error).__name__}): "
            "check the name, the network and `hf auth login`, or give a local directory."
        ) from error


def _revision(name: str, path: Path) -> str | None:
    return path.name if path.parent.name == "snapshots" and name != TINY else None


def _read_config(name: str, path: Path) -> dict[str, Any]:
    try:
        config = json_file.read(path / "config.json")
        model_type = config["model_type"]
        known = model_type in FAMILIES
    except OSError as error:
        raise unreadable(path / "config.json", error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BaseModelError(f"Base {name!r} has a damaged config.json: download the base again.") from error
    if not known:
        supported = ", ".join(sorted(FAMILIES))
        raise BaseModelError(
            f"Base {name!r} is a {model_type!r} model; supported are {supported}: choose one of those."
        )
    return config
