"""The loop: trl's SFTTrainer over ids that are ready, with our loss, schedule, evaluations and output.

An example learns from its middle, some 20 of a thousand tokens. The head over all others, and its gradient, would cost
a quarter of a small base's step and most of a large vocabulary's memory: logits are computed where there are labels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, cast

import torch
from datasets import Dataset
from huggingface_hub import constants
from peft import PeftModel
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded, quiet
from starling_server.prompt.fim import Example
from starling_training import processes
from starling_training.config import Loss, OptimConfig
from starling_training.examples.dataset import IGNORED, Row, Writer, example
from starling_training.examples.spans import Hole
from starling_training.fit import checkpoint, methods
from starling_training.fit.checkpoint import BEST, TRAINER
from starling_training.fit.schedule import Curve, Pace, steps
from starling_training.fit.watch import Watch
from starling_training.sources.clean import Document


def summed_loss(model: Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """Negative log-likelihood of all labels in `inputs`, in nats, in sum; and their number.

    `inputs["labels"]` has the shape (rows, length) and, as everywhere in transformers, a label is predicted from the
    position before it.
    """
    labels = inputs["labels"][:, 1:]
    places = (labels != IGNORED).any(0).nonzero().flatten()  # predicted in at least one row
    others = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**others, logits_to_keep=places, use_cache=False).logits
    targets = labels[:, places]
    total = cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total, int((targets != IGNORED).sum())


EVAL_BATCH = 4
PAD_MULTIPLE = 64
"""Lengths come in few sizes: on a CPU every new one costs memory that stays: runs of the tiny base
peaked at 3.2 GB without this and at 1.9 GB with it."""


@dataclass(frozen=True, slots=True)
class Sets:
    """The training set, in training order, and the held-out middles."""

    train: Dataset
    held_out: Dataset


@dataclass(frozen=True, slots=True)
class Hooks:
    """Callbacks of the training loop."""

    interrupted: Callable[[], bool]
    """Called after every step; True ends the run."""
    show: Callable[[int, float, Curve], None]
    """Called with every step's number and loss, and the evaluations so far."""
    save: Callable[[Path], None]
    """Writes the current weights into a folder."""
    started: Callable[[float], None]
    """Called with the base's loss on the held-out middles before the first step; may raise."""


def train(
    model: PreTrainedModel | PeftModel,
    loaded: Loaded,
    sets: Sets,
    config: OptimConfig,
    folder: Path,
    hooks: Hooks,
    after: Path | None,
) -> Curve:
    """Train the weights of `model` that learn at the resolved rate; the best on held-out middles go to `folder`/best.

    Checkpoints go to `folder`; with one of them in `after` the run goes on from there. A run that ends before its
    first evaluation leaves none.
    """
    pace = Pace(steps(len(sets.train), config), config.max_minutes * 60, lambda: processes.shared(monotonic))

    def interrupted() -> bool:
        return processes.shared(hooks.interrupted)

    def keep() -> None:
        if processes.is_first():
            hooks.save(folder / BEST)

    watch = Watch(pace, config.evaluations, config.patience, interrupted, keep, hooks.show, hooks.started)
    trainer = _trainer(model, loaded, sets, config, pace, folder)
    trainer.add_callback(watch)
    if after:
        watch.resume(checkpoint.state(after, Watch.__name__))
    else:
        # Inside train(): an evaluation before it marks the model as prepared, and several processes would train apart.
        trainer.args.eval_on_start = True
    with quiet():
        trainer.train(resume_from_checkpoint=str(after) if after else None)
    return watch.curve


class MiddleTrainer(SFTTrainer):
    """trl's trainer with `summed_loss`, divided by all labels of a step, in whichever process they are."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The step's share of its loss in training, where `num_items_in_batch` is given; a batch's mean otherwise."""
        total, labels = summed_loss(model, inputs)
        if num_items_in_batch is None:
            mean = total / max(1, labels)
        else:
            mean = total / num_items_in_batch * self.accelerator.num_processes  # gradients are averaged over processes
        return (mean, {}) if return_outputs else mean


def collator(pad: int, packing: bool) -> DataCollatorForLanguageModeling:
    """Examples to tensors: a row each, padded; with `packing` one row of all, each with positions of its own.

    Attention then stays inside each example, by the positions and only while there is no attention mask.
    """
    return DataCollatorForLanguageModeling(pad, padding_free=packing, pad_to_multiple_of=PAD_MULTIPLE)


def _trainer(
    model: PreTrainedModel | PeftModel, loaded: Loaded, sets: Sets, config: OptimConfig, pace: Pace, folder: Path
) -> SFTTrainer:
    constants.HF_HUB_DISABLE_TELEMETRY = True  # trl reports the start of every run to its makers
    optimizer = _optimizer(model, loaded, config.learning_rate, config.weight_decay)
    warmup = config.warmup if config.warmup < 1 else min(1.0, config.warmup / pace.steps)
    with quiet():
        trainer = MiddleTrainer(
            model=cast(PreTrainedModel, model),
            args=_arguments(loaded, config, pace.steps, folder),
            train_dataset=sets.train,
            eval_dataset=sets.held_out,
            processing_class=cast(PreTrainedTokenizerBase, loaded.tokenizer.hf),
            # Not end-of-text, the usual choice: its labels would be masked and the model never learn to stop.
            data_collator=collator(loaded.fim.pad, config.packing),
            optimizers=(optimizer, LambdaLR(optimizer, lambda step: pace.rate(step, warmup))),
        )
    trainer.remove_callback(PrinterCallback)
    trainer.model_accepts_loss_kwargs = True  # else the loss would be divided once more
    methods.keep_full_precision(model)
    return trainer


def _arguments(loaded: Loaded, config: OptimConfig, max_steps: int, folder: Path) -> SFTConfig:
    on_gpu = loaded.device.type == "cuda"
    half = loading.compute_dtype(loaded.device) if loaded.model.dtype == torch.float32 else loaded.model.dtype
    arguments = SFTConfig(
        output_dir=str(folder / TRAINER),
        save_total_limit=2,
        per_device_train_batch_size=config.batch,
        per_device_eval_batch_size=EVAL_BATCH,
        gradient_accumulation_steps=processes.split(config.accumulation),
        max_steps=max_steps,
        max_grad_norm=config.clip,
        bf16=half == torch.bfloat16,
        fp16=half == torch.float16,
        use_cpu=not on_gpu,
        ddp_backend="gloo" if processes.count() > 1 and not on_gpu else None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=on_gpu,
        gradient_checkpointing=on_gpu,
        train_sampling_strategy="sequential",  # the rows are shuffled already, epoch by epoch
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    if processes.count() == 1 and arguments.device.type == "cuda":
        # Else one process would spread each step over all the GPUs that there are; nothing public says so.
        arguments._n_gpu = 1  # pyright: ignore[reportPrivateUsage]
    return arguments


def _optimizer(model: torch.nn.Module, loaded: Loaded, rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW over what learns; on a GPU its state is paged, so that a peak spills into the host's memory."""
    weights = methods.trainable(model)
    if loaded.device.type != "cuda":
        return torch.optim.AdamW(weights, lr=rate, weight_decay=weight_decay)
    from bitsandbytes.optim import PagedAdamW32bit

    return cast(Any, PagedAdamW32bit)(weights, lr=rate, weight_decay=weight_decay)


def training_set(rows: Sequence[Row], documents: Sequence[Document], writer: Writer, loss: Loss) -> Dataset:
    """A dataset of `input_ids` and `labels` over `rows`; ids are made when a row is read."""

    def ids(batch: dict[str, list[Any]]) -> dict[str, list[list[int]]]:
        read = [Row(*values) for values in zip(*(batch[name] for name in Row.__slots__), strict=True)]
        return _columns([example(row, documents[row.document].text, writer) for row in read], loss)

    table = {name: [getattr(row, name) for row in rows] for name in Row.__slots__}
    return Dataset.from_dict(table).with_transform(ids)


def middle_set(holes: Sequence[Hole], writer: Writer) -> Dataset:
    """A dataset over `holes` in serving's order whose labels are the middles' alone."""
    return Dataset.from_dict(_columns([writer.hole(hole) for hole in holes], "middle"))


def _columns(examples: Sequence[Example], loss: Loss) -> dict[str, list[list[int]]]:
    labels: Callable[[Example], list[int]] = _middle_labels if loss == "middle" else lambda made: made.ids
    return {"input_ids": [made.ids for made in examples], "labels": [labels(made) for made in examples]}


def _middle_labels(made: Example) -> list[int]:
    return [IGNORED] * made.prompt_tokens + made.ids[made.prompt_tokens :]
