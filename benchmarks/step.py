"""Overhead of the training loop over a bare forward pass, backward pass and step on the same batches and model.

    python benchmarks/step.py PATH [--steps 8] [--rounds 5]

Both loops train the same adapter over the bundled base in 4 bits, from the same start, on the same examples in the same
order, and take turns. Starling's loop creates its examples on the fly, logs every step and reads the clock; the bare
loop gets finished tensors. The bare loop is timed with the model's own loss, which computes all logits, and with
Starling's. Ratios are of medians within a round.
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

from starling_server.backends.torch import loading
from starling_server.config import ModelConfig
from starling_training.config import DataConfig, LoraConfig, OptimConfig
from starling_training.examples.dataset import Writer, epoch_rows, held_out_holes
from starling_training.fit import losses, methods, trainer
from starling_training.fit.schedule import Curve
from starling_training.fit.trainer import middle_set, training_set
from starling_training.sources import corpus

import torch  # isort: skip


def ours(sets: trainer.Sets, optim: OptimConfig) -> list[float]:
    """Seconds of each step of Starling's loop."""
    loaded = loading.load(ModelConfig(base="tiny", quantize="nf4"))
    torch.manual_seed(0)
    model = methods.wrap(loaded, LoraConfig(dropout=0.0))
    times = [0.0]

    def started(_: float) -> None:
        times[0] = time.perf_counter()

    def keep(_: Path) -> None:
        """Save nothing, like the bare loop."""

    def note(_step: int, _loss: float, _curve: Curve) -> None:
        times.append(time.perf_counter())

    hooks = trainer.Hooks(lambda: False, note, keep, started)
    with TemporaryDirectory() as folder:
        trainer.train(model, loaded, sets, optim, Path(folder), hooks, None)
    return [later - earlier for earlier, later in pairwise(times)]


def bare(batches: Sequence[Sequence[dict[str, Any]]], optim: OptimConfig, own_loss: bool) -> list[float]:
    """Seconds of each step of a minimal equivalent loop, with the model's own loss or with Starling's."""
    loaded = loading.load(ModelConfig(base="tiny", quantize="nf4"))
    torch.manual_seed(0)
    model = methods.wrap(loaded, LoraConfig(dropout=0.0)).train()
    methods.keep_full_precision(model)
    weights = methods.trainable(model)
    optimizer = torch.optim.AdamW(weights, lr=optim.learning_rate, weight_decay=optim.weight_decay)
    times = list[float]()
    for forwards in batches:
        start = time.perf_counter()
        labels = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in forwards)
        for batch in forwards:
            with torch.autocast("cpu", torch.bfloat16):
                if own_loss:
                    unweighted = {name: values for name, values in batch.items() if name != "weights"}
                    total = model(**unweighted, num_items_in_batch=torch.tensor(labels), use_cache=False).loss
                else:
                    total = losses.summed_loss(model, batch)[0] / labels
            total.backward()
        torch.nn.utils.clip_grad_norm_(weights, optim.clip)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    optim = OptimConfig(max_steps=arguments.steps, learning_rate=1e-3, evaluations=1)
    documents = corpus.read([arguments.path]).documents
    loaded = loading.load(ModelConfig(base="tiny"))
    writer = Writer(loaded.tokenizer, loaded.fim, loaded.base.context, 64)
    rows = epoch_rows(documents, writer, DataConfig(context_tokens=writer.context_tokens), 0)
    train = training_set(rows, documents, writer, "weighted")
    held_out = middle_set([hole for _, hole in held_out_holes(documents, writer, 2, "step")], writer)
    collate = losses.collator(loaded.fim.pad, packing=False)
    batches = [
        [collate([train[step * optim.accumulation + n]]) for n in range(optim.accumulation)]
        for step in range(arguments.steps)
    ]
    rounds = list[dict[str, float]]()
    for turn in range(arguments.rounds):
        loops = {
            "ours": ours(trainer.Sets(train, held_out), optim),
            "bare": bare(batches, optim, own_loss=True),
            "bare, our loss": bare(batches, optim, own_loss=False),
        }
        rounds.append({name: median(times[1:]) for name, times in loops.items()})  # the first step prepares kernels
        said = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in rounds[-1].items())
        print(f"round {turn + 1}, ms a step: {said}", flush=True)
    over = {name: [turn["ours"] / turn[name] - 1 for turn in rounds] for name in ("bare", "bare, our loss")}
    for name, ratios in over.items():
        print(f"beside {name}: {median(ratios):+.1%} (rounds {min(ratios):+.1%} to {max(ratios):+.1%})")
    seconds = {name: round(median(turn[name] for turn in rounds), 4) for name in rounds[0]}
    json.dump(
        {"seconds_per_step": seconds, "overhead": {name: round(median(r), 4) for name, r in over.items()}}, sys.stdout
    )
    print()


if __name__ == "__main__":
    main()
