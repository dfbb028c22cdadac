"""The two runners side by side: start-up, prefill, single tokens, batched tokens of several caches, memory.

    python benchmarks/runners.py [--base tiny|DIR] [--runners torch,ggml] [--prompt 512] [--tokens 24]

Each runner starts in a process of its own and is called directly: with a prompt of random tokens in its own chunk size,
then with single tokens, and with one token for each of 2, 4 and 8 caches of that prompt in one forward pass. Processor
time is that of all threads and is more reliable than the clock if other programs use the cores too.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, get_args

from starling_server.config import ModelConfig, RunnerName, ServiceConfig
from starling_server.engine.engine import Engine
from starling_server.engine.protocols import Feed, Runner
from starling_server.serve.start import start


def clocks() -> tuple[float, float]:
    """Seconds of clock and processor."""
    return time.perf_counter(), time.process_time()


def measured(base: str, runner: RunnerName, prompt: int, tokens: int) -> dict[str, float]:
    """Figures of one runner, in this process."""
    began = clocks()
    service = start(ModelConfig(base=base, runner=runner), ServiceConfig())
    engine = service.backend.engine
    assert isinstance(engine, Engine)
    runner_here: Runner = engine.runner
    loaded, feeds, rng = clocks(), runner_here, random.Random(0)
    ids, cache = [rng.randrange(8, 8000) for _ in range(prompt)], feeds.open(None)
    for at in range(0, prompt, feeds.chunk):
        feeds.feed([Feed(cache, ids[at : at + feeds.chunk])])
    filled, steps = clocks(), list[tuple[float, float]]()
    for token in ids[:tokens]:
        before = clocks()
        feeds.feed([Feed(cache, [token])])
        after = clocks()
        steps.append((after[0] - before[0], after[1] - before[1]))
    rows = {f"{count} rows ms": together(feeds, cache, count, prompt, ids[:tokens]) for count in (2, 4, 8)}
    service.close()
    return {
        "start s": loaded[0] - began[0],
        "prefill tokens per s": prompt / (filled[0] - loaded[0]),
        "prefill tokens per processor s": prompt / (filled[1] - loaded[1]),
        "token ms": median(clock for clock, _ in steps) * 1e3,
        "token processor ms": median(processor for _, processor in steps) * 1e3,
        **rows,
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def together(feeds: Runner, cache: Any, count: int, prompt: int, ids: Sequence[int]) -> float:
    """Median milliseconds of a forward pass with one id for each of `count` copies of the prompt's cache."""
    caches, times = [feeds.fork(cache, prompt) for _ in range(count)], list[float]()
    for token in ids:
        before = time.perf_counter()
        feeds.feed([Feed(one, [token]) for one in caches])
        times.append((time.perf_counter() - before) * 1e3)
    for one in caches:
        feeds.close(one)
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--runners", default="torch,ggml")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=24)
    asked = parser.parse_args()
    runners: list[Any] = [name for name in asked.runners.split(",") if name in get_args(RunnerName)]
    if len(runners) == 1:
        print(json.dumps(measured(asked.base, runners[0], asked.prompt, asked.tokens)))
        return
    found = dict[str, dict[str, float]]()
    sizes = ["--base", asked.base, "--prompt", str(asked.prompt), "--tokens", str(asked.tokens)]
    for runner in runners:
        command = [sys.executable, __file__, "--runners", runner, *sizes]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[runner] = json.loads(output.splitlines()[-1])
        print(runner, ", ".join(f"{name} {value:,.1f}" for name, value in found[runner].items()), flush=True)
    print(json.dumps({"benchmark": "runners", "base": asked.base, **found}))


if __name__ == "__main__":
    main()
