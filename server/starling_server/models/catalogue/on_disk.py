"""Known bases in the folders of the Hugging Face Hub, llama.cpp, Ollama and `make real-bases`, told by their names.

Only names and small JSON files are read: whether a file is a base that works shows when it is loaded.
"""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from platformdirs import user_cache_path

from starling_server import untrusted
from starling_server.models.catalogue import known
from starling_server.models.catalogue.known import Known
from starling_server.models.gguf_base import described, header
from starling_server.untrusted import Unfit

MOST_FILES, MANIFEST_BYTES = 10_000, 1 << 20
OLLAMA_MODEL = "application/vnd.ollama.image.model"
OLLAMA_SERVICE = Path("/usr/share/ollama/.ollama/models")
"""Where Ollama keeps models when it runs as Linux's service."""
OTHER = ("mmproj", "embed", "lora", "reranker")
"""Parts of names of files that are no base."""
QUANTISED = ("awq", "gptq", "mlx", "exl2", "fp8", "int4", "int8")
"""Parts of names of repositories whose weights need a library of their own: to be named with --base."""
LEAST_BYTES = 0.15
"""Of a weight, in llama.cpp's smallest types: what is smaller is a part, a vocabulary or an unfinished download."""
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Found:
    """A copy of a known base on this disk."""

    known: Known
    name: str
    """What `--base` takes."""
    place: str
    """Whose folder it is in."""
    is_gguf: bool


def found() -> list[Found]:
    """Every copy, the better base first, and of one base the Hub's own form first."""
    copies = [*_hub(), *_files("llama.cpp", llama_cpp_folder()), *_ollama(), *_files("Starling", own_folder())]
    order = {row.id: number for number, row in enumerate(known.KNOWN)}
    return sorted(copies, key=lambda copy: (order[copy.known.id], copy.is_gguf))


def own_folder() -> Path:
    """Where `make real-bases` puts weights."""
    return described.home().with_name("real-bases")


def hub_folder() -> Path:
    """The Hub's cache, as the package huggingface_hub finds it."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def llama_cpp_folder() -> Path:
    """Where llama.cpp's programs keep what they download."""
    return Path(os.environ.get("LLAMA_CACHE") or user_cache_path("llama.cpp", appauthor=False, opinion=False))


def ollama_folders() -> list[Path]:
    """Where Ollama keeps its models."""
    if named := os.environ.get("OLLAMA_MODELS"):
        return [Path(named)]
    return [Path.home() / ".ollama" / "models", *([OLLAMA_SERVICE] if sys.platform == "linux" else [])]


def _hub() -> Iterator[Found]:
    """Whole downloads: a snapshot with config and weights, or GGUF files."""
    for folder in _below(hub_folder(), "models--*--*"):
        owner, _, name = folder.name.removeprefix("models--").partition("--")
        row = None if any(word in name.lower() for word in (*OTHER, *QUANTISED)) else known.of(name)
        snapshot = _snapshot(folder)
        if row is None or snapshot is None:
            continue
        if os.path.isfile(snapshot / "config.json") and any(_below(snapshot, "*.safetensors")):
            yield Found(row, f"{owner}/{name}", "Hugging Face", False)
        else:
            yield from _files("Hugging Face", snapshot)


def _snapshot(folder: Path) -> Path | None:
    """The folder of the revision `main`."""
    try:
        revision = untrusted.read(folder / "refs" / "main", 100).decode("ascii", "replace").strip()
    except (OSError, Unfit):
        return None
    return folder / "snapshots" / revision if re.fullmatch(r"[0-9a-f]{4,64}", revision) else None


def _files(place: str, folder: Path) -> Iterator[Found]:
    """GGUF files in a folder and below, the first parts of split ones."""
    for file in _below(folder, f"**/*{header.SUFFIX}"):
        row = None if any(word in file.name.lower() for word in OTHER) else known.of(file.stem)
        if row is not None and ((header.is_part(file) and not header.is_later_part(file)) or _is_whole(row, file)):
            yield Found(row, str(file), place, True)


def _is_whole(row: Known, file: Path) -> bool:
    """Whether the file is large enough for the base's weights."""
    try:
        return not header.is_part(file) and file.stat().st_size > row.weights * 1e9 * LEAST_BYTES
    except OSError:
        return False


def _ollama() -> Iterator[Found]:
    """Models by their manifests, `manifests/HOST/NAMESPACE/MODEL/TAG`, which name the file that holds the weights."""
    for home in ollama_folders():
        for manifest in _below(home / "manifests", "*/*/*/*"):
            row = known.of(f"{manifest.parent.name}-{manifest.name}")
            blob = None if row is None else _blob(home, manifest)
            if row is not None and blob is not None:
                yield Found(row, str(blob), "Ollama", True)


def _blob(home: Path, manifest: Path) -> Path | None:
    """The file with the weights that a manifest names; None where it is not there or nothing can be read."""
    try:
        layers = untrusted.parsed(untrusted.read(manifest, MANIFEST_BYTES)).get("layers")
    except (OSError, Unfit):
        return None
    for layer in layers if isinstance(layers, list) else []:
        if isinstance(layer, dict) and layer.get("mediaType") == OLLAMA_MODEL:
            match = _DIGEST.fullmatch(str(layer.get("digest")))
            blob = match and home / "blobs" / f"sha256-{match[1]}"
            return blob if blob and os.path.isfile(blob) else None
    return None


def _below(folder: Path, pattern: str) -> list[Path]:
    """What matches in a folder that may be missing or closed to this user, sorted."""
    try:
        return sorted(islice(folder.glob(pattern), MOST_FILES))
    except OSError:
        return []
