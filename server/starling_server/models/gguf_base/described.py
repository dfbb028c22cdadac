"""The folder that describes a GGUF base: config.json and tokenizer.json, written once into the cache."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from platformdirs import user_cache_path

from starling_server.errors import BaseModelError, OutputError
from starling_server.models.gguf_base import configuration, vocabulary
from starling_server.models.gguf_base.header import Header, read

VERSION = 2
"""Of what is written: a higher one makes every folder stale."""
DIGITS = 24


@dataclass(frozen=True, slots=True)
class Described:
    """A GGUF base on this disk."""

    folder: Path
    header: Header


def home() -> Path:
    """The folder of everything that is made of GGUF files, below STARLING_CACHE_DIR or the platform's cache folder."""
    return Path(os.environ.get("STARLING_CACHE_DIR") or user_cache_path("starling")) / "gguf"


def describe(name: str, path: Path) -> Described:
    """Read the base in `path` and write its folder, unless that was done before; raises BaseModelError, OutputError."""
    header = read(path)
    try:
        config, written = configuration.configuration(name, header)
        words = vocabulary.tokenizer(name, header.fields, written)
    except (KeyError, TypeError, ValueError) as error:
        raise BaseModelError(f"Base {name!r} has a damaged header: download it again.") from error
    return Described(_written(config, words), header)


def _written(config: dict[str, Any], words: dict[str, Any]) -> Path:
    texts = {"config.json": json.dumps(config, indent=1), "tokenizer.json": json.dumps(words, ensure_ascii=False)}
    state = hashlib.sha256("\0".join([str(VERSION), *texts.values()]).encode("utf-8", "replace")).hexdigest()[:DIGITS]
    folder = home() / "described" / state
    if all((folder / name).is_file() for name in texts):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryDirectory(prefix=".writing-", dir=folder.parent) as room:
            made = Path(room) / "made"
            made.mkdir()
            for name, text in texts.items():
                (made / name).write_bytes(text.encode("utf-8", "replace"))
            _move(made, folder)
    except OSError as error:
        raise OutputError(
            f"The cache {folder.parent} cannot be written to ({error.strerror or error}): free some space, or name "
            "another folder in STARLING_CACHE_DIR."
        ) from error
    return folder


def _move(made: Path, folder: Path) -> None:
    """Put a finished folder into its place, unless another process has done so meanwhile."""
    try:
        os.replace(made, folder)
    except OSError:
        if not (folder / "config.json").is_file():
            raise
