"""Training at the released StarCoders' sizes: peak memory, the plan's error, tokens per second; weights are random.

    python benchmarks/train_gpu.py [--shapes 1b,3b,7b,10b,15.5b] [--batch 4] [--length 2048] [--steps 5] [--rank 32]
        [--method qlora|lora|full]

Weights are drawn and quantised one matrix at a time, so that no size is ever in memory in 16 bits. The loop, optimiser
and checkpointing are those of train-copilot. Without a GPU the same runs use the CPU, with `--shapes toy` or `small`;
the peak is then the growth of the process's memory, so run one shape at a time.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from random_weights import config, random_model
from shapes import SHAPES

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded
from starling_server.models import bases
from starling_server.models.bases import TINY_DIR, Base
from starling_server.models.families import table as families
from starling_server.models.tokenizer import load_tokenizer
from starling_training.config import LoraConfig, OptimConfig
from starling_training.fit import methods, trainer
from starling_training.fit.memory_plan import GIGA, Memory, memory
from starling_training.fit.schedule import Curve

import torch  # isort: skip
from datasets import Dataset  # isort: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """Figures of one size; reserved memory is 0 without a GPU."""

    shape: str
    tokens_per_second: float
    peak_allocated: int
    peak_reserved: int
    planned: Memory

    def record(self) -> dict[str, Any]:
        allocated = self.peak_allocated / GIGA
        planned = self.planned.total / GIGA
        return {
            "shape": self.shape,
            "tokens_per_second": round(self.tokens_per_second, 1),
            "peak_allocated_gb": round(allocated, 2),
            "peak_reserved_gb": round(self.peak_reserved / GIGA, 2),
            "planned_gb": round(planned, 2),
            "plan_error": round(planned / allocated - 1, 3) if allocated else None,  # a toy may fit in import memory
        }


def examples(vocabulary: int, length: int, count: int) -> Dataset:
    """Random rows with labels on every token, all of one weight."""

    def rows() -> Iterator[dict[str, list[Any]]]:
        for seed in range(count):
            ids = torch.randint(7, vocabulary, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
            yield {"input_ids": ids, "labels": ids, "weights": [1 / length] * length}

    return Dataset.from_list(list(rows()))


def measure(name: str, arguments: argparse.Namespace, device: torch.device) -> Seen:
    """Figures of a few steps at one size."""
    model, loaded = trainee(name, arguments, device)
    optim = OptimConfig(
        max_steps=arguments.steps, batch=arguments.batch, accumulation=1, evaluations=1, learning_rate=1e-4
    )
    vocabulary, times = loaded.base.config["vocab_size"], list[float]()
    sets = trainer.Sets(
        examples(vocabulary, arguments.length, arguments.batch * arguments.steps),
        examples(vocabulary, arguments.length, 1),
    )

    def note(_step: int, _loss: float, _curve: Curve) -> None:
        times.append(time.perf_counter())

    def keep(_: Path) -> None:
        """Save nothing."""

    hooks = trainer.Hooks(lambda: False, note, keep, lambda _: None)
    with TemporaryDirectory() as folder:
        trainer.train(model, loaded, sets, optim, Path(folder), hooks, None)
    step = median(later - earlier for earlier, later in pairwise(times))
    on_gpu = device.type == "cuda"
    of = loaded.base.family.shape(loaded.base.config)
    return Seen(
        name,
        arguments.batch * arguments.length / step,
        torch.cuda.max_memory_allocated() if on_gpu else _peak_bytes() - BEFORE,
        torch.cuda.max_memory_reserved() if on_gpu else 0,
        memory(of, arguments.method, arguments.rank, arguments.batch, arguments.length, checkpointing=on_gpu),
    )


def trainee(name: str, arguments: argparse.Namespace, device: torch.device) -> tuple[Any, Loaded]:
    """The model to train, as in a run."""
    of = config(*SHAPES[name])
    whole = arguments.method == "full"
    dtype = torch.float32 if whole else loading.compute_dtype(device)
    tokenizer = load_tokenizer(bases.find("tiny"))
    base = Base(name, TINY_DIR, None, json.loads(of.to_json_string(use_diff=False)))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model = random_model(of, device, dtype, arguments.method == "qlora")
    loaded = Loaded(base, name, model, tokenizer, families.resolve("gpt_bigcode", tokenizer))
    return methods.unfreeze(loaded) if whole else methods.wrap(loaded, LoraConfig(rank=arguments.rank)), loaded


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


BEFORE = _peak_bytes()
"""Memory of Python and the libraries."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="1b,3b,7b,10b,15.5b")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--method", choices=["qlora", "lora", "full"], default="qlora")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    records = list[dict[str, Any]]()
    for name in arguments.shapes.split(","):
        records.append(measure(name, arguments, device).record())
        print("  ".join(f"{key} {value}" for key, value in records[-1].items()), flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    machine = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    run = {"machine": machine, "method": arguments.method, "batch": arguments.batch, "length": arguments.length}
    json.dump(run | {"sizes": records}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
