"""The pre-training loop: time-limited, resumable at the exact step, on a CPU or one GPU."""

import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, GPTBigCodeForCausalLM, PreTrainedModel

from starling_server.backends.torch.loading import compute_dtype, quiet
from starling_server.errors import UsageError
from starling_server.prompt.fim import Fim, Tokenizer
from starling_training import staging
from starling_training.base import attention, optimizer
from starling_training.base.recipe import Recipe
from starling_training.base.rows import Rows
from starling_training.base.stream import Stream
from starling_training.examples.dataset import IGNORED

WEIGHTS, STATE, PROGRESS = "weights", "optimisers.pt", "progress.json"
SHARD = "15MB"
"""Max size of a weights file in a checkpoint; some transfer methods from rented machines have a limit."""
LOGGED_STEPS = 20
GPU_WORKERS = 8
WINDOW = 1 << 22
"""Ids in a shuffle window: rows are shuffled within it. It holds a whole number of steps and of rows of each length."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the training curve, after `tokens` ids."""

    tokens: int
    loss: float
    """Mean over the steps since the last point, in nats per token."""
    seconds: float
    """Training time so far, over all parts of the run."""


@dataclass(slots=True)
class Progress:
    """Progress of a run."""

    tokens: int = 0
    seconds: float = 0.0
    curve: list[Point] = field(default_factory=list[Point])


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop this part of the run, and when to save."""

    seconds: float
    """Time limit of this part; 0 means no limit."""
    save_seconds: float
    interrupted: Callable[[], bool]


class Run:
    """A model in training, with all state that its next step depends on."""

    def __init__(
        self,
        recipe: Recipe,
        stream: Stream,
        tokenizer: Tokenizer,
        fim: Fim,
        device: torch.device,
        start: Path | None = None,
    ) -> None:
        """`start` is the folder of a base of this shape to continue from; without it, weights are initialised at
        random.
        """
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self._half = compute_dtype(device) == torch.bfloat16
        kernel = attention.NAME if device.type == "cpu" else "sdpa"
        model = AutoModelForCausalLM.from_config(recipe.model_config(), attn_implementation=kernel)
        _spread_positions(model.transformer.wpe.weight)
        if start is not None:
            _take_weights(model, start)
        self.model: PreTrainedModel = model.to(device).train()
        self.optimisers = optimizer.optimisers(self.model, recipe.muon_rate, recipe.adam_rate)
        self.progress = Progress()
        self._stream, self._tokenizer, self._fim = stream, tokenizer, fim

    def train(self, folder: Path, limits: Limits, show: Callable[[Progress], None]) -> None:
        """Train until the recipe's tokens, the time limit or an interrupt; saves checkpoints into `folder`."""
        started = saved = monotonic()
        before, losses = self.progress.seconds, list[float]()
        for ids, labels in self._batches():
            losses.append(self._step(ids, labels))
            self.progress.tokens += ids.numel()
            self.progress.seconds = before + monotonic() - started
            if len(losses) == LOGGED_STEPS:
                self.progress.curve.append(
                    Point(self.progress.tokens, sum(losses) / len(losses), self.progress.seconds)
                )
                losses.clear()
                show(self.progress)
            if monotonic() - saved > limits.save_seconds:
                self.save(folder)
                saved = monotonic()
            if limits.interrupted() or 0 < limits.seconds < monotonic() - started:
                break
        self.save(folder)

    def save(self, folder: Path) -> None:
        """Write a checkpoint; the previous one is kept until this one is complete."""
        with quiet(), staging.staged(folder, overwrite=True) as new:
            self.model.save_pretrained(new / WEIGHTS, max_shard_size=SHARD)
            torch.save(self.optimisers.state_dict(), new / STATE)
            record = {"recipe": self.recipe.record(), **asdict(self.progress)}
            (new / PROGRESS).write_text(json.dumps(record) + "\n", encoding="utf-8")

    def resume(self, folder: Path) -> None:
        """Restore the checkpoint in `folder`."""
        _take_weights(self.model, folder / WEIGHTS)
        state = torch.load(folder / STATE, map_location=self.device, weights_only=True)
        self.optimisers.load_state_dict(state)
        record = read_progress(folder)
        self.progress = Progress(record["tokens"], record["seconds"], [Point(**point) for point in record["curve"]])

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Ids and labels of each remaining step, shape (rows, length), one shuffle window after another."""
        recipe = self.recipe
        while self.progress.tokens < recipe.tokens:
            window = self.progress.tokens // WINDOW
            length = recipe.length(window * WINDOW)
            rows = Rows(self._stream, self._tokenizer, self._fim, length, recipe.seed)
            workers = GPU_WORKERS if self.device.type == "cuda" else 0
            steps = self._window(window, length)
            yield from DataLoader(rows, batch_sampler=steps, num_workers=workers, pin_memory=workers > 0)

    def _window(self, window: int, length: int) -> list[list[int]]:
        """Row positions of each remaining step in a window, shuffled because neighbouring rows are too similar."""
        order = np.random.default_rng((self.recipe.seed, window)).permutation(WINDOW // length)
        positions = (window * WINDOW + order * length).tolist()
        size = self.recipe.step_tokens // length
        done = (self.progress.tokens - window * WINDOW) // length
        most = -(-(self.recipe.tokens - self.progress.tokens) // self.recipe.step_tokens)
        return [positions[at : at + size] for at in range(done, len(positions), size)][:most]

    def _step(self, ids: Tensor, labels: Tensor) -> float:
        """Run one optimiser step on a batch; returns its mean loss per token."""
        learnt = int((labels[:, 1:] != IGNORED).sum())
        rows = max(1, self.recipe.forward_tokens // ids.shape[1])
        positions = self._positions(*ids.shape)
        total = torch.zeros((), device=self.device)
        for part in zip(ids.split(rows), labels.split(rows), positions.split(rows), strict=True):
            loss = self._loss(*(tensor.to(self.device, non_blocking=True) for tensor in part)) / learnt
            loss.backward()
            total += loss.detach()
        optimizer.clip(self.model)
        self.optimisers.step(optimizer.factor(self.progress.tokens / self.recipe.tokens))
        return float(total)

    def _loss(self, ids: Tensor, labels: Tensor, positions: Tensor) -> Tensor:
        """Summed loss of a few rows."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            logits = self.model(input_ids=ids, position_ids=positions, use_cache=False).logits
        flat = logits[:, :-1].flatten(0, 1).float()
        return functional.cross_entropy(flat, labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum")

    def _positions(self, rows: int, length: int) -> Tensor:
        """Position ids of each row, at a random offset in the context: short rows train every position embedding."""
        random = Random(f"{self.recipe.seed}:{self.progress.tokens}")
        offsets = [random.randint(0, self.recipe.context - length) for _ in range(rows)]
        return torch.tensor(offsets).unsqueeze(1) + torch.arange(length)


def _take_weights(model: PreTrainedModel, folder: Path) -> None:
    """Copy the weights in `folder` into `model`; raises UsageError if the shapes differ."""
    with quiet():
        weights = GPTBigCodeForCausalLM.from_pretrained(folder, dtype=torch.float32)
    try:
        model.load_state_dict(weights.state_dict())
    except RuntimeError as error:
        raise UsageError(
            f"The base in {folder} has another shape than the run: give its --layers, --width and --vocabulary."
        ) from error


def _spread_positions(weight: Tensor) -> None:
    """Initialise the position embeddings, shape (context, width), as sinusoids (Vaswani et al. 2017) at the same scale.

    Neighbouring positions are then similar from the first step on, and relations learned at one place hold at others.
    """
    context, width = weight.shape
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = torch.arange(context).unsqueeze(1) * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    weight.data.copy_(waves * weight.std() / waves.std())


def read_progress(folder: Path) -> dict[str, Any]:
    """The record of the checkpoint in `folder`: its recipe, tokens, seconds and curve."""
    return json.loads((folder / PROGRESS).read_text(encoding="utf-8"))


def export(folder: Path, output: Path) -> None:
    """Write the checkpoint's model to `output`, in bfloat16 and as a single weights file."""
    with quiet():
        model = GPTBigCodeForCausalLM.from_pretrained(folder / WEIGHTS, dtype=torch.bfloat16)
        model.generation_config.update(bos_token_id=0, eos_token_id=0, pad_token_id=4)
        model.save_pretrained(output)
