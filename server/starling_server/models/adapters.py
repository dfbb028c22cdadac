"""Where adapters live and which one a name, a folder or a workspace means."""

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
"""The adapter name that means none: reserved."""
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PICKLE = "adapter_model.bin"
"""What peft wrote before safetensors: a program, never opened."""
MOST_NAME = 128
"""Characters of an adapter's name."""
Stamp = tuple[tuple[int, int, int], ...]
"""What changes when an adapter's files do: time, size and number of each, zeros for one that is not there."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on this disk, its manifest read."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """What requests call it: its folder's name."""
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
    """Whether requests can spell it and logs show it: folders come from anywhere, `check_name` saw few of them."""
    return name.isprintable() and 0 < len(name) <= MOST_NAME and name[0] not in ".-" and name != BARE


def folder_of(name_or_dir: str) -> Path:
    """The folder that is meant, be it there or not.

    A word is a name, also where the current folder has a folder of that name which is no adapter.
    """
    path = _path(name_or_dir)
    if path.name != name_or_dir or os.path.isfile(path / manifests.MANIFEST):
        return path
    own = home() / name_or_dir
    return path if os.path.isdir(path) and not os.path.isdir(own) else own


def name_of(name_or_dir: str) -> str:
    """What a server calls the adapter that is meant."""
    path = _path(name_or_dir)
    return name_or_dir if path.name == name_or_dir else Path(os.path.realpath(path)).name


def _path(name_or_dir: str) -> Path:
    """As it is written, where it begins with a '~' that is nobody's."""
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
        raise AdapterError(f"{real.name[:40]!a} cannot name an adapter: give its folder a short plain name.")
    manifest = manifests.read(path)
    if os.path.isfile(path / "config.json"):
        raise AdapterError(f"{path} holds a whole model and no adapter: use it with --base {path}.")
    try:
        with untrusted.opened(untrusted.inside(path / WEIGHTS, path)):
            pass
    except (OSError, Unfit) as error:
        raise AdapterError(_without_weights(path, error)) from error
    return Adapter(real, manifest)


def _without_weights(path: Path, error: OSError | Unfit) -> str:
    if isinstance(error, FileNotFoundError) and os.path.lexists(path / PICKLE):
        return f"{shown(path)} has {PICKLE}, a program that is never opened: save its weights as {WEIGHTS}."
    return refusal(path / WEIGHTS, error, "train the adapter again")


def folders() -> Iterator[Path]:
    """The folders under `home()` that have a manifest, by name; hidden ones are on their way in or out."""
    try:
        names = sorted(name for name in os.listdir(home()) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for name in names:
        if os.path.lexists(home() / name / manifests.MANIFEST):
            yield Path(os.path.realpath(home() / name))


def place(name: str) -> Path | None:
    """The folder under `home()` that this name, which anybody may have sent, stands for; None where there is none."""
    folder = Path(os.path.realpath(home() / name)) if servable(name) else None
    inside = folder is not None and folder.parent == Path(os.path.realpath(home())) and os.path.isdir(folder)
    return folder if inside else None


def stamp(folder: Path) -> Stamp:
    """The files of an adapter as they are now."""
    return tuple(_stamp(folder / name) for name in (manifests.MANIFEST, WEIGHTS, CONFIG))


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino


def changed(folder: Path) -> float:
    """When the folder or a file of it was last written or moved there, in seconds since 1970; 0 for what is gone."""
    latest = 0.0
    for path in (folder, *(folder / name for name in (manifests.MANIFEST, WEIGHTS, CONFIG))):
        with suppress(OSError):
            latest = max(latest, os.stat(path).st_ctime)  # nobody can set it, as copies do with the other times
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
