"""The index of other files: time and memory to build it, its size on disk, one file's update, and the time of a choice.

    python benchmarks/context_index.py --files 5000 [FOLDER]

Copies Python files of FOLDER (default: this environment's packages) into a plain folder, indexes them, changes one, and
chooses at random places. The last line is JSON.
"""

import argparse
import json
import random
import shutil
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from starling_server.context import store
from starling_server.context.choice import Place, choose
from starling_server.context.index import Index
from starling_server.context.workspace import Workspace
from starling_server.files.content import Unwanted, source_text

PLACES, UPDATES = 300, 20


def copied(source: Path, target: Path, count: int) -> list[str]:
    """Copy `count` files that the index accepts; returns their paths."""
    found = sorted(path for path in source.rglob("*.py") if 200 < path.stat().st_size < 200_000)
    random.Random(0).shuffle(found)
    paths = list[str]()
    for file in found:
        path = file.relative_to(source).as_posix().replace("_vendor/", "own/").replace("dist/", "made/")
        try:
            source_text(path, file.read_bytes())
        except Unwanted:
            continue
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / path)
        paths.append(path)
        if len(paths) == count:
            break
    return paths


def choices(index: Index, folder: Path, paths: Sequence[str]) -> dict[str, float]:
    """Milliseconds of choices at random places, on the clock and of CPU time."""
    source, times, used, sizes = random.Random(1), list[float](), list[float](), list[int]()
    for _ in range(PLACES):
        path = source.choice(paths)
        text = (folder / path).read_text(encoding="utf-8", errors="replace")
        at = source.randrange(len(text))
        place = Place(path, text[:at], text[at:])
        began, cpu = time.perf_counter(), time.thread_time()
        sizes.append(len(choose(index, place)))
        times.append((time.perf_counter() - began) * 1e3)
        used.append((time.thread_time() - cpu) * 1e3)
    figures = [*np.percentile(times, [50, 95]), *np.percentile(used, [50, 95])]
    shares = dict(zip(("p50", "p95", "cpu_p50", "cpu_p95"), (round(float(ms), 2) for ms in figures), strict=True))
    return {**shares, "pieces": round(float(np.mean(sizes)), 1)}


def update(workspace: Workspace, paths: Sequence[str]) -> float:
    """Milliseconds for one changed file, median."""
    times = list[float]()
    for path in paths[:UPDATES]:
        with (workspace.folder / path).open("a", encoding="utf-8") as file:
            file.write("\n\ndef added_just_now() -> int:\n    return 1\n")
        began = time.perf_counter()
        workspace.update(path)
        times.append((time.perf_counter() - began) * 1e3)
    return round(float(np.median(times)), 1)


def timed(work: object) -> tuple[float, float]:
    """Seconds on the clock and of this process's CPU time."""
    began, used = time.perf_counter(), time.process_time()
    assert callable(work)
    work()
    return round(time.perf_counter() - began, 1), round(time.process_time() - used, 1)


def measure(source: Path, count: int) -> dict[str, object]:
    with TemporaryDirectory() as made, TemporaryDirectory() as cache:
        folder = Path(made)
        paths = copied(source, folder, count)
        before = psutil.Process().memory_info().rss
        workspace = Workspace(folder, Path(cache))
        seconds, cpu = timed(workspace.refresh)
        memory = psutil.Process().memory_info().rss - before
        (file,) = Path(cache).iterdir()
        load, _ = timed(lambda: store.load(file))
        again, _ = timed(workspace.refresh)
        return {
            "files": len(workspace.index), "characters": workspace.index.chars, "build_s": seconds, "build_cpu_s": cpu,
            "memory_mb": memory >> 20, "disk_mb": file.stat().st_size >> 20, "load_s": load, "unchanged_s": again,
            "choice_ms": choices(workspace.index, folder, paths), "update_ms": update(workspace, paths),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(sysconfig.get_path("purelib")))
    parser.add_argument("--files", type=int, default=5_000)
    given = parser.parse_args()
    print(json.dumps(measure(given.folder, given.files)))


if __name__ == "__main__":
    main()
