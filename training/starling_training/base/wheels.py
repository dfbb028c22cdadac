"""Reads wheels and the standard library as documents, with a licence and hash per package."""

import hashlib
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from starling_server.errors import SourceError
from starling_training.sources import clean
from starling_training.sources.clean import Document

HERE = Path(__file__).parent
LEARNT, HELD_OUT = HERE / "learnt.txt", HERE / "held_out.txt"
"""Requirement files with hashes: packages to train on, and packages excluded from the training of every base."""
PLATFORMS = (
    *(f"manylinux{version}_x86_64" for version in ("_2_34", "_2_28", "_2_27", "_2_24", "_2_17", "2014", "2010", "1")),
    "any",
)
"""Platforms of the hashed wheels. Only Python source is read from them, so the machine's own platform is irrelevant."""

_PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|HPND|CMU|Zlib|Unlicense)\b", re.IGNORECASE
)
_COPYLEFT = re.compile(r"GPL|\bMPL|Mozilla|\bEPL|EUPL|SSPL|General Public", re.IGNORECASE)
_TITLE = 80
"""Max characters of a licence field that is a licence's name; a longer field quotes the licence text."""


@dataclass(frozen=True, slots=True)
class Source:
    """The Python files of one package."""

    name: str
    version: str
    licence: str
    sha256: str
    """Hash of the wheel, or of the standard library's files in order."""
    documents: tuple[Document, ...]
    """Documents that pass the corpus filters."""


def download(requirements: Path, folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """The wheels that `requirements` pins, or those named in `only`; raises SourceError if a download fails."""
    folder.mkdir(parents=True, exist_ok=True)
    pins = [line for line in requirements.read_text(encoding="utf-8").splitlines() if "==" in line]
    names = [pin.partition("==")[0] for pin in pins]
    if unknown := sorted(set(only) - set(names)):
        raise SourceError(f"{requirements.name} does not list {', '.join(unknown)}: name one of {', '.join(names)}.")
    chosen = [pin for name, pin in zip(names, pins, strict=True) if not only or name in only]
    (folder / requirements.name).write_text("\n".join(chosen) + "\n", encoding="utf-8")
    platforms = [flag for name in PLATFORMS for flag in ("--platform", name)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    pip += [
        "--python-version",
        "3.11",
        *platforms,
        "--dest",
        str(folder),
        "--requirement",
        str(folder / requirements.name),
    ]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise SourceError(f"pip cannot download the packages in {requirements.name} ({said}): check the network.")
    return pinned(folder, chosen)


def pinned(folder: Path, pins: Sequence[str]) -> list[Path]:
    """The wheels in `folder` with hashes in `pins`; others remain from an earlier list."""
    known = {pin.partition("--hash=sha256:")[2].split()[0] for pin in pins}
    wheels = sorted(folder.glob("*.whl"), key=lambda wheel: wheel.name.lower())
    return [wheel for wheel in wheels if _digest(wheel) in known]


def read_wheel(wheel: Path, must_be_permissive: bool = True) -> Source:
    """The package in `wheel`; raises SourceError if its licence does not permit training."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = message_from_bytes(archive.read(next(n for n in names if n.endswith(".dist-info/METADATA"))))
        files = {name: archive.read(name) for name in sorted(names) if name.endswith(".py")}
    licence = _licence(metadata)
    if must_be_permissive and (_COPYLEFT.search(licence) or not _PERMISSIVE.search(licence)):
        raise SourceError(
            f"{wheel.name} has the licence {licence!r}, which is not permissive: remove it from the list."
        )
    return Source(metadata["Name"], metadata["Version"], licence, _digest(wheel), tuple(_documents(files)))


def read_standard_library() -> Source:
    """The running Python's standard library, including its tests, without installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    digest = hashlib.sha256(b"".join(files.values())).hexdigest()
    return Source("python", sys.version.split()[0], "PSF-2.0", digest, tuple(_documents(files)))


def _digest(wheel: Path) -> str:
    with wheel.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _documents(files: dict[str, bytes]) -> Iterator[Document]:
    for name, raw in files.items():
        found = clean.document(name, raw)
        if isinstance(found, Document):
            yield found


def _licence(metadata: Message) -> str:
    """The package's licence from its metadata: the expression, the field if it is a name, or the classifiers."""
    field = str(metadata.get("License-Expression") or metadata.get("License") or "").strip()
    classifiers = [line.split("::")[-1].strip() for line in metadata.get_all("Classifier", []) if "License ::" in line]
    return field if 0 < len(field) <= _TITLE and "\n" not in field else ", ".join(classifiers)
