"""Cost of a llama.cpp forward pass by number of tokens, by other caches in memory, with and without flash attention.

    python benchmarks/ggml_forward.py [BASE_OR_GGUF] [--type q4_0] [--prefix 512] [--others 4096] [--repeats 9]

Measures the figures behind choices in `starling_server/backends/llamacpp/bindings.py` and `runner.py`: how many drafted
tokens a forward pass should check, whether other caches slow down the one in use, and which attention to use. Times are
medians in milliseconds: of the clock, and of the processor over all threads, which is more reliable if other programs
use the cores too.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from starling_server.backends.llamacpp.bindings import BATCH, Context, Token, Weights
from starling_server.backends.llamacpp.gguf_export import KINDS, export_cache
from starling_server.models import bases
from starling_server.models.catalogue.auto import cores

COUNTS = (1, 2, 3, 4, 5, 8, 64)


def forward(context: Context, sequence: int, start: int, count: int) -> tuple[float, float]:
    """Milliseconds of clock and processor for `count` random tokens; logits for all tokens if they are few."""
    rng = random.Random(start)
    tokens = [Token(sequence, rng.randrange(8, 8000), start + n, count <= 8) for n in range(count)]
    clock, processor = time.perf_counter(), time.process_time()
    context.decode(tokens)
    return (time.perf_counter() - clock) * 1e3, (time.process_time() - processor) * 1e3


def prefill(context: Context, sequence: int, count: int) -> float:
    """Processor seconds for `count` tokens from the start."""
    return sum(forward(context, sequence, at, min(BATCH, count - at))[1] for at in range(0, count, BATCH)) / 1e3


def measured(context: Context, prefix: int, repeats: int, counts: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Clock and processor milliseconds, by number of tokens after `prefix`."""
    found = dict[int, tuple[float, float]]()
    for count in counts:
        times = list[tuple[float, float]]()
        for _ in range(repeats):
            times.append(forward(context, 0, prefix, count))
            context.forget(0, prefix)
        found[count] = (median(clock for clock, _ in times), median(processor for _, processor in times))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="tiny")
    parser.add_argument("--type", choices=KINDS, default="q4_0")
    parser.add_argument("--prefix", type=int, default=512)
    parser.add_argument("--others", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    file = Path(asked.model)
    if file.suffix != ".gguf":
        base = bases.find(asked.model)
        file = export_cache.base(base, bases.fingerprint(base), asked.type)
    weights, results = Weights(file), list[dict[str, object]]()
    for flash in (True, False):
        context = Context(weights, asked.prefix + 256, 1 + asked.others // asked.prefix, flash=flash)
        speed = asked.prefix / prefill(context, 0, asked.prefix)
        print(f"flash attention {flash}: prefill {speed:.0f} tokens per processor second")
        for others in (0, asked.others):
            for number in range(others // asked.prefix):
                prefill(context, 1 + number, asked.prefix)
            found = measured(context, asked.prefix, asked.repeats, COUNTS)
            for count, (clock, processor) in found.items():
                print(f"  {others:5} other cells, {count:3} tokens: {clock:7.1f} ms, processor {processor:7.1f} ms")
            results.append({"flash": flash, "others": others, "prefill": speed, "ms": found})
        context.close()
    print(json.dumps({"benchmark": "ggml_forward", "model": asked.model, "cores": cores(), "results": results}))


if __name__ == "__main__":
    main()
