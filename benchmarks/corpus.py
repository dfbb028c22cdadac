"""Speed and memory of reading, cleaning, comparing and encoding sources.

    python benchmarks/corpus.py PATH [--megabytes 50 100 150]

PATH holds at least as many megabytes of Python source, for example a site-packages folder. Each size runs in a process
of its own on randomly drawn files, without a cache. Memory is the sum of the peaks of the process and its largest
worker.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from random import Random

WORKERS = os.cpu_count() or 1


def choose(source: Path, folder: Path, megabytes: float) -> float:
    """Hard links in `folder` to random Python files of `source`; returns their size in megabytes."""
    files = sorted(path for path in source.rglob("*.py") if path.is_file() and not path.is_symlink())
    Random(0).shuffle(files)
    total = 0.0
    for number, path in enumerate(files):
        if total >= megabytes:
            break
        total += path.stat().st_size / 1e6
        group = folder / f"group_{number % 50}"
        group.mkdir(exist_ok=True)
        os.link(path, group / f"{number}_{path.name}")
    return total


def measure(folder: Path) -> dict[str, float]:
    """Seconds of each stage over `folder`, and the peak memory in megabytes."""
    from starling_server.models import bases
    from starling_server.models.tokenizer import load_tokenizer
    from starling_training.sources import corpus
    from starling_training.sources.split import apart, split

    marks = [time.perf_counter()]
    read = corpus.read([folder])
    marks.append(time.perf_counter())
    again = corpus.read([folder])
    marks.append(time.perf_counter())
    parts = apart(split(again.documents, 0.1, 0), again)
    marks.append(time.perf_counter())
    tokenizer = load_tokenizer(bases.find("tiny"))
    tokens = sum(len(tokenizer.encode(document.text)) for document in parts.train)
    marks.append(time.perf_counter())
    seconds = [after - before for before, after in pairwise(marks)]
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        **dict(zip(("clean_s", "from_store_s", "dedup_split_s", "tokenise_s"), seconds, strict=True)),
        "documents": len(read.documents),
        "near_duplicates": parts.near_duplicates,
        "redacted": len(read.redactions),
        "tokens": tokens,
        "peak_mb": (own + WORKERS * worker) / 1e3,
    }


def run(source: Path, megabytes: float) -> dict[str, float]:
    """Run `measure` in a process of its own."""
    with tempfile.TemporaryDirectory(dir=source.parent) as room:
        folder = Path(room) / "source"
        folder.mkdir()
        size = choose(source, folder, megabytes)
        environment = {**os.environ, "STARLING_CACHE_DIR": str(Path(room) / "cache")}
        command = [sys.executable, __file__, "--folder", str(folder)]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return {"megabytes": size, **json.loads(done.stdout.splitlines()[-1])}


def show(row: dict[str, float]) -> str:
    stages = ("clean_s", "from_store_s", "dedup_split_s", "tokenise_s")
    speeds = "  ".join(f"{name.removesuffix('_s')} {row['megabytes'] / row[name]:7.1f} MB/s" for name in stages)
    return f"{row['megabytes']:6.0f} MB  {row['documents']:6.0f} files  {speeds}  peak {row['peak_mb']:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[50, 100, 150])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.folder:
        print(json.dumps(measure(asked.folder)))
        return
    rows = list[dict[str, float]]()
    for megabytes in asked.megabytes:
        rows.append(run(asked.path.resolve(), megabytes))
        print(show(rows[-1]), file=sys.stderr, flush=True)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
