"""A cache of exports: the ggml runner's files in the platform's cache folder.

A file is named by its input, written to a temporary folder beside its final path and then moved there. Files are
therefore always complete, and two processes may write the same one at once.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time

from platformdirs import user_cache_path

from starling_server import untrusted
from starling_server.backends.llamacpp.gguf_export import Kind
from starling_server.backends.llamacpp.gguf_export.write import outlined, write_adapter, write_base
from starling_server.errors import AdapterError, OutputError
from starling_server.models.adapters import CONFIG, WEIGHTS
from starling_server.models.bases import Base
from starling_server.models.lora import CONFIG_BYTES
from starling_server.untrusted import Unfit, refusal

log = logging.getLogger(__name__)
VERSION = 1
"""Version of the output of `write`: a higher one makes every cached file stale."""
DIGITS, PIECE = 24, 1 << 20
UNFINISHED = ".writing-"
ABANDONED_SECONDS = 86_400
"""Age at which an unfinished file counts as abandoned: a base of 15 billion weights takes minutes."""


def home() -> Path:
    """The folder of exports, below STARLING_CACHE_DIR or the platform's cache folder."""
    return Path(os.environ.get("STARLING_CACHE_DIR") or user_cache_path("starling")) / "gguf"


def base(base: Base, fingerprint: str, kind: Kind) -> Path:
    """`base` as GGUF with its matrices as `kind`; the first call takes minutes, later ones find the file.

    Raises BaseModelError where it cannot be written as GGUF, OutputError where the disk is full.
    """
    place, name = home() / "bases", f"{fingerprint[:DIGITS]}-{kind}"
    return _kept(place, name, str(VERSION), f"base {base.id} in {kind}", lambda path: write_base(base, path, kind))


def adapter(adapter: Path, base: Base, fingerprint: str) -> Path:
    """The LoRA in the folder `adapter` as GGUF; after another training it replaces the old file.

    Raises AdapterError where it is damaged or more than a LoRA, OutputError where the disk is full.
    """
    outlined(adapter, base)
    place = hashlib.sha256(os.fsencode(adapter.resolve())).hexdigest()[:DIGITS]
    state = hashlib.sha256(b"\0".join([fingerprint.encode(), str(VERSION).encode(), b""]))
    try:
        state.update(untrusted.read(untrusted.inside(adapter / CONFIG, adapter), CONFIG_BYTES) + b"\0")
        with untrusted.opened(untrusted.inside(adapter / WEIGHTS, adapter)) as stream:
            while piece := stream.read(PIECE):
                state.update(piece)
    except (OSError, Unfit) as error:
        raise AdapterError(refusal(adapter, error, "train it again")) from error
    what = f"adapter {adapter.name}"
    return _kept(
        home() / "adapters", place, state.hexdigest()[:DIGITS], what, lambda path: write_adapter(adapter, base, path)
    )


def _kept(folder: Path, name: str, state: str, what: str, write: Callable[[Path], None]) -> Path:
    """The file of `name` in this state. Where it is missing it is written, and files of other states are removed."""
    target = folder / f"{name}-{state}.gguf"
    if target.is_file():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(target, what, write)
    except OSError as error:
        raise OutputError(
            f"The cache {folder} cannot be written to ({error.strerror or error}): free some space, or name another "
            "folder in STARLING_CACHE_DIR."
        ) from error
    for other in folder.glob(f"{name}-*.gguf"):
        if other != target:
            other.unlink(missing_ok=True)
    return target


def _write(target: Path, what: str, write: Callable[[Path], None]) -> None:
    _sweep(target.parent)
    log.info("writing %s for llama.cpp to %s, once", what, target)
    started = perf_counter()
    with TemporaryDirectory(prefix=UNFINISHED, dir=target.parent) as room:
        write(Path(room) / target.name)
        os.replace(Path(room) / target.name, target)
    log.info("wrote %.1f MB in %.1f s", target.stat().st_size / 1e6, perf_counter() - started)


def _sweep(folder: Path) -> None:
    """Remove folders that a killed process left."""
    for left in folder.glob(f"{UNFINISHED}*"):
        if left.stat().st_mtime < time() - ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
