"""Exports that are written once and used again: the ggml runner's files in the platform's cache folder.

A file is named by what it was made of, written to a folder of its own beside its place and then moved there: whoever
finds it finds all of it, and two processes that write the same one at once both end well.
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
"""Of what `write` makes of the same input: a higher one makes every file anew."""
DIGITS, PIECE = 24, 1 << 20
UNFINISHED = ".writing-"
ABANDONED_SECONDS = 86_400
"""After this time nobody writes any more what is unfinished: a base of 15 billion weights takes minutes."""


def home() -> Path:
    """Where exports are kept, in the folder of cleaned sources: STARLING_CACHE_DIR, or the platform's cache."""
    return Path(os.environ.get("STARLING_CACHE_DIR") or user_cache_path("starling")) / "gguf"


def base(base: Base, fingerprint: str, kind: Kind) -> Path:
    """`base` as GGUF with its matrices as `kind`; minutes for the first time, then nothing.

    Raises BaseModelError where it cannot be written as GGUF, OutputError where there is no room for it.
    """
    place, name = home() / "bases", f"{fingerprint[:DIGITS]}-{kind}"
    return _kept(place, name, str(VERSION), f"base {base.id} in {kind}", lambda path: write_base(base, path, kind))


def adapter(adapter: Path, base: Base, fingerprint: str) -> Path:
    """The LoRA in the folder `adapter` as GGUF; one that was trained again takes the old one's place.

    Raises AdapterError where it is damaged or more than a LoRA, OutputError where there is no room for it.
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
    """`name` in this state, written where it is not there; its other states go then."""
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
    """Remove what a killed process left."""
    for left in folder.glob(f"{UNFINISHED}*"):
        if left.stat().st_mtime < time() - ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
