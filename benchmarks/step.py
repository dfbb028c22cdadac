"""What our training loop costs beside a bare forward, backward and step on the same batches and model.

    python benchmarks/step.py PATH [--steps 12] [--rounds 3]

Both train the same adapter over the bundled base in 4 bits, from the same start, on the same examples in the same
order; the loops take turns. Ours makes its examples as it goes, logs every step and asks the clock; the bare one is
handed tensors that are ready.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from starling_server import loading
from starling_server.config import ModelConfig
from starling_training import corpus, qlora, trainer
from starling_training.config import DataConfig, LoraConfig, OptimConfig
from starling_training.dataset import Writer, epoch_rows, held_out_holes, middle_set, training_set
from starling_training.watch import Curve

import torch  # isort: skip


def ours(sets: trainer.Sets, optim: OptimConfig) -> list[float]:
    """Seconds of each step of the product's loop."""
    loaded = loading.load(ModelConfig(base="tiny", quantize="nf4"))
    torch.manual_seed(0)
    model = qlora.wrap(loaded, LoraConfig(dropout=0.0))
    times = [0.0]

    def started(_: float) -> None:
        times[0] = time.perf_counter()

    def keep(_: Path) -> None:
        """The bare loop keeps nothing either."""

    def note(_step: int, _loss: float, _curve: Curve) -> None:
        times.append(time.perf_counter())

    hooks = trainer.Hooks(lambda: False, note, keep, started)
    with TemporaryDirectory() as folder:
        trainer.train(model, loaded, sets, optim, Path(folder), hooks, None)
    return [later - earlier for earlier, later in pairwise(times)]


def bare(batches: Sequence[Sequence[dict[str, Any]]], optim: OptimConfig) -> list[float]:
    """Seconds of each step of the shortest loop that does the same."""
    loaded = loading.load(ModelConfig(base="tiny", quantize="nf4"))
    torch.manual_seed(0)
    model = qlora.wrap(loaded, LoraConfig(dropout=0.0)).train()
    qlora.keep_full_precision(model)
    weights = qlora.trainable(model)
    optimizer = torch.optim.AdamW(weights, lr=optim.learning_rate, weight_decay=optim.weight_decay)
    times = list[float]()
    for forwards in batches:
        start = time.perf_counter()
        labels = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in forwards)
        for batch in forwards:
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(**batch, num_items_in_batch=torch.tensor(labels)).loss
            loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, optim.clip)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    optim = OptimConfig(max_steps=arguments.steps, learning_rate=1e-3, evaluations=1)
    documents = corpus.read([arguments.path]).documents
    loaded = loading.load(ModelConfig(base="tiny"))
    writer = Writer(loaded.tokenizer, loaded.fim, loaded.base.context, 64)
    rows = epoch_rows(documents, writer, DataConfig(context_tokens=writer.context_tokens), 0)
    train = training_set(rows, documents, writer, "middle")
    held_out = middle_set([hole for _, hole in held_out_holes(documents, writer, 2, "step")], writer)
    collate = trainer.collator(loaded.fim.pad, packing=False)
    batches = [
        [collate([train[step * optim.accumulation + n]]) for n in range(optim.accumulation)]
        for step in range(arguments.steps)
    ]
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(arguments.rounds):
        times["ours"] += ours(trainer.Sets(train, held_out), optim)[1:]  # the first step prepares kernels
        times["bare"] += bare(batches, optim)[1:]
        print(f"round {turn + 1}: " + ", ".join(f"{n} {1000 * median(t):.0f} ms a step" for n, t in times.items()))
    middle = {name: median(taken) for name, taken in times.items()}
    overhead = middle["ours"] / middle["bare"] - 1
    print(f"overhead {overhead:+.1%} over {len(times['ours'])} steps each")
    seconds = {name: round(value, 4) for name, value in middle.items()}
    json.dump({"seconds_per_step": seconds, "overhead": round(overhead, 4)}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
