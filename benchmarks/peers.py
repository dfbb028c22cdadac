"""Builds llama.cpp's programs for this machine, the peers in speed comparisons.

    python benchmarks/peers.py [--jobs 2]

Downloads the source package of llama-cpp-python in the version of constraints.txt, and builds llama-server, llama-bench
and llama-quantize from its llama.cpp with native optimisations, into the cache folder (not the repository). Existing
programs are kept. Takes 6 to 15 minutes on two cores; needs cmake and a C++ compiler.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from platformdirs import user_cache_path

ROOT = Path(__file__).parents[1]
PACKAGE = "llama-cpp-python"
PROGRAMS = ("llama-server", "llama-bench", "llama-quantize")
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_BUILD_TESTS=OFF",
)  # fmt: skip


def cache_folder(*parts: str) -> Path:
    """The project's cache folder, outside the repository."""
    root = os.environ.get("STARLING_CACHE_DIR")
    return (Path(root) if root else user_cache_path("starling", appauthor=False)).joinpath("benchmarks", *parts)


def version() -> str:
    """The version used by the tests."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{PACKAGE}=="))


def program(name: str) -> Path | None:
    """Path of one of `PROGRAMS`; None if it is not built."""
    path = cache_folder(f"llama-{version()}") / name
    return path if path.is_file() else None


def build(jobs: int) -> None:
    """Download, unpack, configure and compile; keeps only the programs."""
    target = cache_folder(f"llama-{version()}")
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target) as room:
        source = unpack(download(Path(room)), Path(room))
        made = Path(room) / "build"
        call("cmake", "-S", str(source), "-B", str(made), *OPTIONS)
        call("cmake", "--build", str(made), "-j", str(jobs), "--target", *PROGRAMS)
        for name in PROGRAMS:
            shutil.copy2(made / "bin" / name, target / name)


def download(folder: Path) -> Path:
    """The source package, not built."""
    wanted = f"{PACKAGE}=={version()}"
    pip = (sys.executable, "-m", "pip", "download", "--quiet")
    call(*pip, "--no-deps", "--no-binary", PACKAGE, "--dest", str(folder), wanted)
    return next(folder.glob("*.tar.gz"))


def unpack(package: Path, folder: Path) -> Path:
    """The folder of llama.cpp's source."""
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("*/vendor/llama.cpp"))


def call(*command: str) -> None:
    """Run a build step with its output on stderr; only the last line of this script is on standard output."""
    subprocess.run(command, check=True, stdout=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    if not all(map(program, PROGRAMS)):
        build(asked.jobs)
    print(json.dumps({"version": version(), **{name: str(program(name)) for name in PROGRAMS}}))


if __name__ == "__main__":
    main()
