"""Where adapters live and which one a name, a folder or a workspace means."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from starling_server import manifest as manifests
from starling_server.errors import AdapterError
from starling_server.manifest import Manifest

DATA_DIR = "STARLING_DATA_DIR"
"""Environment variable that moves everything Starling keeps."""
BARE = "base"
"""The adapter name that means none: reserved."""
WEIGHTS = "adapter_model.safetensors"
Stamp = tuple[tuple[int, int, int], ...]
"""What changes when an adapter's files do: time, size and number of each."""
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


def folder_of(name_or_dir: str) -> Path:
    """The folder that is meant, be it there or not.

    A word is a name, also where the current folder has a folder of that name which is no adapter.
    """
    path = Path(name_or_dir).expanduser()
    if path.name != name_or_dir or (path / manifests.MANIFEST).is_file():
        return path
    own = home() / name_or_dir
    return path if path.is_dir() and not own.is_dir() else own


def name_of(name_or_dir: str) -> str:
    """What a server calls the adapter that is meant."""
    path = Path(name_or_dir).expanduser()
    return name_or_dir if path.name == name_or_dir else path.resolve().name


def find(name_or_dir: str) -> Adapter:
    """The adapter of this name or in this folder; raises AdapterError."""
    path = folder_of(name_or_dir)
    if not path.is_dir():
        known = ", ".join(adapter.name for adapter in every()) or "none yet"
        raise AdapterError(
            f"There is no adapter {name_or_dir!r}: name a folder or one of those trained here ({known}), "
            "or run train-copilot first."
        )
    return load(path)


def load(path: Path) -> Adapter:
    """The adapter in `path`; raises AdapterError where its manifest or weights are missing or damaged."""
    manifest = manifests.read(path)
    if (path / "config.json").is_file():
        raise AdapterError(f"{path} holds a whole model and no adapter: use it with --base {path}.")
    if not (path / WEIGHTS).is_file():
        raise AdapterError(f"{path} has a manifest but no {WEIGHTS}: train the adapter again.")
    try:
        (path / WEIGHTS).open("rb").close()
    except OSError as error:
        raise unreadable(path / WEIGHTS, error) from error
    return Adapter(path.resolve(), manifest)


def folders() -> Iterator[Path]:
    """The folders under `home()` that have a manifest, by name; hidden ones are on their way in or out."""
    found = sorted(home().glob("*/" + manifests.MANIFEST))
    return (path.parent.resolve() for path in found if not path.parent.name.startswith("."))


def stamp(folder: Path) -> Stamp:
    """The files of an adapter as they are now; raises AdapterError where one is missing."""
    try:
        stats = [(folder / name).stat() for name in (manifests.MANIFEST, WEIGHTS)]
    except OSError as error:
        file = Path(error.filename or "")
        if not isinstance(error, FileNotFoundError):
            raise unreadable(file, error) from error
        raise AdapterError(f"{folder} has no {file.name}: train the adapter again.") from error
    return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)


def unreadable(file: Path, error: OSError) -> AdapterError:
    """What to say of a file that is there and cannot be read: the adapter itself may be sound."""
    said = (error.strerror or str(error)).lower()
    return AdapterError(f"{file} cannot be read ({said}): let this user read it, or copy it again.")


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
