"""The folder of adapters, and how a name, a folder or a workspace is resolved to one."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from starling_server import untrusted
from starling_server.errors import AdapterError
from starling_server.models import manifest as manifests
from starling_server.models.manifest import Manifest
from starling_server.untrusted import Unfit, refusal, shown

DATA_DIR = "STARLING_DATA_DIR"
"""Environment variable that moves everything Starling keeps."""
BARE = "base"
"""Reserved adapter name: the base without an adapter."""
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PICKLE = "adapter_model.bin"
"""peft's former format, a pickle. It can run code, so it is never opened."""
MOST_NAME = 128
"""Maximum length of an adapter's name."""
Stamp = tuple[tuple[int, int, int], ...]
"""Modification time, size and inode of each file of an adapter; zeros for a missing file."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on this disk, its manifest read."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Its name in requests: the folder's name."""
        return self.path.name


def home() -> Path:
    """The folder that holds one folder per adapter name."""
    root = os.environ.get(DATA_DIR)
    return (Path(root) if root else user_data_path("starling", appauthor=False)) / "adapters"


def name_for(source: Path) -> str:
    """A valid adapter name from a source's folder name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", source.name).strip("-._")
    return name if name and name != BARE else "copilot"


def check_name(name: str) -> str:
    """`name` itself; raises AdapterError where it cannot be one."""
    if not _NAME.fullmatch(name) or name == BARE:
        raise AdapterError(f"{name!r} cannot name an adapter: use letters, digits, '.', '_' and '-', not {BARE!r}.")
    return name


def servable(name: str) -> bool:
    """Whether requests and logs can contain the name; most folders were not named through `check_name`."""
    return name.isprintable() and 0 < len(name) <= MOST_NAME and name[0] not in ".-" and name != BARE


def folder_of(name_or_dir: str) -> Path:
    """The folder that a name or path stands for, existing or not.

    A plain word is a name, unless the current folder has an adapter of that name.
    """
    path = _path(name_or_dir)
    if path.name != name_or_dir or os.path.isfile(path / manifests.MANIFEST):
        return path
    own = home() / name_or_dir
    return path if os.path.isdir(path) and not os.path.isdir(own) else own


def name_of(name_or_dir: str) -> str:
    """The server's name for this adapter."""
    path = _path(name_or_dir)
    return name_or_dir if path.name == name_or_dir else Path(os.path.realpath(path)).name


def _path(name_or_dir: str) -> Path:
    """The path; a leading '~' of an unknown user stays as it is."""
    return Path(os.path.expanduser(name_or_dir))


def find(name_or_dir: str) -> Adapter:
    """The adapter of this name or in this folder; raises AdapterError."""
    path = folder_of(name_or_dir)
    if not os.path.isdir(path):
        known = ", ".join(adapter.name for adapter in every()) or "none yet"
        raise AdapterError(
            f"There is no adapter {shown(name_or_dir)!r}: name a folder or one of those trained here ({known}), "
            "or run train-copilot first."
        )
    return load(path)


def load(path: Path) -> Adapter:
    """The adapter in `path`; raises AdapterError where its manifest or weights are missing or damaged."""
    real = Path(os.path.realpath(path))
    if not servable(real.name):
        raise AdapterError(
            f"{real.name[:40]!a} cannot name an adapter: rename its folder to at most {MOST_NAME} "
            "letters, digits, '.', '_' and '-'."
        )
    manifest = manifests.read(path)
    if os.path.isfile(path / "config.json"):
        raise AdapterError(f"{path} is a whole model, not an adapter: use it with --base {path}.")
    try:
        with untrusted.opened(untrusted.inside(path / WEIGHTS, path)):
            pass
    except (OSError, Unfit) as error:
        raise AdapterError(_without_weights(path, error)) from error
    return Adapter(real, manifest)


def _without_weights(path: Path, error: OSError | Unfit) -> str:
    if isinstance(error, FileNotFoundError) and os.path.lexists(path / PICKLE):
        return f"{shown(path)} has {PICKLE}, which can contain code and is never loaded: save the weights as {WEIGHTS}."
    return refusal(path / WEIGHTS, error, "train the adapter again")


def folders() -> Iterator[Path]:
    """Folders under `home()` that have a manifest, by name; hidden ones are being written or removed."""
    try:
        names = sorted(name for name in os.listdir(home()) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for name in names:
        if os.path.lexists(home() / name / manifests.MANIFEST):
            yield Path(os.path.realpath(home() / name))


def place(name: str) -> Path | None:
    """The folder under `home()` for this untrusted name; None where there is none."""
    folder = Path(os.path.realpath(home() / name)) if servable(name) else None
    inside = folder is not None and folder.parent == Path(os.path.realpath(home())) and os.path.isdir(folder)
    return folder if inside else None


def stamp(folder: Path) -> Stamp:
    """The present state of an adapter's files."""
    return tuple(_stamp(folder / name) for name in (manifests.MANIFEST, WEIGHTS, CONFIG))


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino


def changed(folder: Path) -> float:
    """When the folder or one of its files was last written or moved there (Unix seconds); 0 without any."""
    latest = 0.0
    for path in (folder, *(folder / name for name in (manifests.MANIFEST, WEIGHTS, CONFIG))):
        with suppress(OSError):
            latest = max(latest, os.stat(path).st_ctime)  # unlike other times it cannot be set
    return latest


def every() -> Iterator[Adapter]:
    """The adapters under `home()`, by name; damaged ones are left out."""
    for folder in folders():
        try:
            yield load(folder)
        except AdapterError:
            continue


def for_workspace(root: Path) -> Adapter | None:
    """The adapter trained on `root` or on the closest folder above it, the newest of several."""
    root = root.resolve()
    fitting = [a for a in every() if a.manifest.workspace and root.is_relative_to(a.manifest.workspace)]
    return max(fitting, key=lambda a: (len(a.manifest.workspace or ""), a.manifest.created), default=None)
