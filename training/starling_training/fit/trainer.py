"""The training loop: trl's SFTTrainer on prepared ids, with a custom loss, schedule, evaluations and output."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, cast

import torch
from datasets import Dataset
from huggingface_hub import constants
from peft import PeftModel
from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoTokenizer, PreTrainedModel, PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded, quiet
from starling_server.errors import BaseModelError
from starling_server.models.bases import Base
from starling_server.prompt.fim import Example
from starling_server.untrusted import shown
from starling_training import processes
from starling_training.config import Loss, OptimConfig
from starling_training.examples.dataset import Row, Writer, example
from starling_training.examples.others import Others
from starling_training.examples.spans import Hole
from starling_training.fit import checkpoint, losses, methods
from starling_training.fit.checkpoint import BEST, TRAINER
from starling_training.fit.schedule import Curve, Pace, steps
from starling_training.fit.watch import Watch
from starling_training.sources.clean import Document

EVAL_BATCH = 4


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
    """Train the trainable weights of `model` at the resolved rate; the best by held-out middles go to `folder`/best.

    Checkpoints go to `folder`; the run resumes from `after`, one of them, if given. A run that ends before its first
    evaluation leaves no weights.
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
        # Inside train(): an earlier evaluation marks the model as prepared, and several processes would train
        # separately.
        trainer.args.eval_on_start = True
    with quiet():
        trainer.train(resume_from_checkpoint=str(after) if after else None)
    return watch.curve


class WeighingTrainer(SFTTrainer):
    """trl's trainer with the weighted loss in training and the mean over labels in evaluations."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of one forward pass; trl divides it by the passes of a step and averages over processes."""
        if model.training:
            loss = losses.weighted_loss(model, inputs)
        else:
            total, labels = losses.summed_loss(model, inputs)
            loss = total / max(1, labels)
        return (loss, {}) if return_outputs else loss


def _trainer(
    model: PreTrainedModel | PeftModel, loaded: Loaded, sets: Sets, config: OptimConfig, pace: Pace, folder: Path
) -> SFTTrainer:
    constants.HF_HUB_DISABLE_TELEMETRY = True  # trl reports the start of every run to its developers
    optimizer = _optimizer(model, loaded, config.learning_rate, config.weight_decay)
    warmup = config.warmup if config.warmup < 1 else min(1.0, config.warmup / pace.steps)
    with quiet():
        trainer = WeighingTrainer(
            model=cast(PreTrainedModel, model),
            args=_arguments(loaded, config, pace.steps, folder),
            train_dataset=sets.train,
            eval_dataset=sets.held_out,
            processing_class=_tokenizer(loaded.base),
            data_collator=losses.collator(loaded.fim.pad, config.packing),
            optimizers=(optimizer, LambdaLR(optimizer, lambda step: pace.rate(step, warmup))),
        )
    trainer.remove_callback(PrinterCallback)
    trainer.model_accepts_loss_kwargs = False  # the loss of a pass is divided by the passes of a step
    methods.keep_full_precision(model)
    return trainer


def _tokenizer(base: Base) -> Any:
    """transformers' tokenizer, which trl wants and which encodes nothing here; raises BaseModelError."""
    try:
        return AutoTokenizer.from_pretrained(base.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers and tokenizers raise bare Exceptions here
        raise BaseModelError(
            f"The tokenizer of base {base.id!r} cannot be read ({shown(error)}): download the base again."
        ) from error


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
        train_sampling_strategy="sequential",  # the rows are already shuffled per epoch
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    if processes.count() == 1 and arguments.device.type == "cuda":
        # Otherwise one process would spread each step over all available GPUs; there is no public setting for this.
        arguments._n_gpu = 1  # pyright: ignore[reportPrivateUsage]
    return arguments


def _optimizer(model: torch.nn.Module, loaded: Loaded, rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW over the trainable weights; on a GPU its state is paged, so that a peak spills into host memory."""
    weights = methods.trainable(model)
    if loaded.device.type != "cuda":
        return torch.optim.AdamW(weights, lr=rate, weight_decay=weight_decay)
    from bitsandbytes.optim import PagedAdamW32bit

    return cast(Any, PagedAdamW32bit)(weights, lr=rate, weight_decay=weight_decay)


def training_set(
    rows: Sequence[Row], documents: Sequence[Document], writer: Writer, loss: Loss, others: Others | None = None
) -> Dataset:
    """A dataset of `input_ids`, `labels` and `weights` over `rows`; they are created when a row is read."""

    def ids(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        read = [Row(*values) for values in zip(*(batch[name] for name in Row.__slots__), strict=True)]
        made = [example(row, documents[row.document].text, writer, others) for row in read]
        return _columns(made, loss, writer.context_tokens)

    table = {name: [getattr(row, name) for row in rows] for name in Row.__slots__}
    return Dataset.from_dict(table).with_transform(ids)


def middle_set(holes: Sequence[Hole], writer: Writer, others: Others | None = None) -> Dataset:
    """A dataset over `holes` in the order used in serving, with labels on the middles only."""
    made = [writer.hole(hole, others=others.of(hole) if others is not None else ()) for hole in holes]
    return Dataset.from_dict(_columns(made, "middle", writer.context_tokens))


def _columns(examples: Sequence[Example], loss: Loss, context: int) -> dict[str, list[Any]]:
    return {
        "input_ids": [made.ids for made in examples],
        "labels": [losses.labels(made, loss) for made in examples],
        "weights": [losses.weights(made, loss, context) for made in examples],
    }
