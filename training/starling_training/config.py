"""The settings of one training run. They are read from flags at the command line and passed on as plain arguments."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from starling_server.config import ModelConfig, Quantize
from starling_server.errors import UsageError
from starling_server.models.bases import Base
from starling_server.prompt.fim import Order

Loss = Literal["weighted", "middle", "all"]
OrderChoice = Literal["auto", "spm", "psm"]
"""`auto` is resolved with the base."""
Method = Literal["qlora", "lora", "full"]
"""A LoRA over a 4-bit base, a LoRA over a 16-bit base, or all weights of the base."""

REFERENCE_LR, REFERENCE_WIDTH = 2e-4, 2048
"""Learning rate of the published StarCoder adapters, and the width of the 1B model that they were trained on."""

MOST_CONTEXT = 2048
"""Default max context, that of the published runs."""
LEAST_CONTEXTS = 2
FULL_SHARE = 0.1
"""Rate for training all weights, as a share of LoRA's (Schulman et al. 2025, "LoRA Without Regret": LoRA's is ten times
as high).
"""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """The examples drawn from the source."""

    context_tokens: int = 0
    """Prompt and middle together; 0 means the base's context, at most 2048."""
    max_tokens: int = 64
    """Max tokens of a middle with its end token, the same as in serving, which reserves room for it."""
    fim_rate: float = 0.8
    """Share of examples with a hole; the others are plain text from left to right."""
    order: OrderChoice = "auto"
    """Order of the prompts that the adapter is served with. `auto` is suffix first (SPM), also over a base that has
    learnt the other order only: a key then adds a token instead of moving the suffix (docs/decisions.md).
    """
    spm_rate: float = 0.8
    """Share of the holes in the order of serving (SPM, unless `order` says PSM); the others are in the other order if
    the base has learnt it.
    """
    loss: Loss = "weighted"
    """What counts in an example with a hole: every token, the middle with a fifth of the weight (`weighted`); the
    `middle` only; or `all` tokens alike, the published form. `fit.losses` has the weights.
    """
    repository_tokens: int = 0
    """Max tokens of other files in a prompt, at most a quarter of it; 0 is none."""
    max_files: int = 0
    """Max files read of each source, the first ones; 0 means all."""
    max_file_loss: float = 0.0
    """Max loss of the base on a file in nats per token; a file above is data, not code. 0 keeps all files. Released
    StarCoders have 1 to 2 on code, so 3 suits them; the tiny base has as much on any file.
    """
    held_out: float = 0.1
    """Share of the text, in whole files, that is held out for evaluation."""
    seed: int = 0
    """Random seed for the holes, the held-out files and adapter initialisation."""

    @property
    def taught_order(self) -> Order:
        """The order of `order`, with `auto` resolved."""
        return "psm" if self.order == "psm" else "spm"

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values, naming the flag."""
        _within("--context-tokens", self.context_tokens, 0, 1 << 20)
        _within("--max-tokens", self.max_tokens, 8, 512)
        _within("--fim-rate", self.fim_rate, 0, 1)
        _within("--spm-rate", self.spm_rate, 0, 1)
        _within("--repository-tokens", self.repository_tokens, 0, 1 << 20)
        _within("--max-files", self.max_files, 0, 10**9)
        _within("--max-file-loss", self.max_file_loss, 0, 20)
        _within("--held-out", self.held_out, 0.01, 0.5)


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """The adapter's shape (Hu et al. 2021): rank, alpha, dropout on its input, and the layers it is added to."""

    method: Method = "qlora"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    targets: str = "all-linear"
    """Layer names, separated by commas, or all linear layers of the blocks."""

    @property
    def layers(self) -> str | list[str]:
        """The targets in peft's format."""
        return self.targets if self.targets == "all-linear" else self.targets.split(",")

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values, naming the flag."""
        _within("--rank", self.rank, 1, 1024)
        _within("--alpha", self.alpha, 1, 4096)
        _within("--dropout", self.dropout, 0, 0.9)
        if not all(re.fullmatch(r"[\w.-]+", name) for name in self.targets.split(",")):
            raise UsageError(f"--targets takes layers such as c_attn,c_proj, or all-linear, not {self.targets!r}.")


@dataclass(frozen=True, slots=True)
class OptimConfig:
    """The optimiser's settings and the stop conditions."""

    epochs: int = 3
    max_steps: int = 0
    """Optimiser steps; 0 sets no limit."""
    max_minutes: float = 0.0
    """Minutes of training; 0 sets no limit."""
    learning_rate: float = 0.0
    """Peak of the cosine; 0 selects it by the base's width (see `peak_rate`)."""
    batch: int = 1
    """Examples per forward pass; with more than one, shorter ones are padded."""
    accumulation: int = 4
    """Forward passes per optimiser step."""
    warmup: float = 0.03
    """Share of the run with a rising rate; from 1 on, a number of steps."""
    packing: bool = False
    """Pack the examples of one forward pass into one row, without padding."""
    weight_decay: float = 0.01
    clip: float = 1.0
    evaluations: int = 5
    """Number of evaluations of the held-out loss, evenly spread."""
    patience: int = 3
    """Stop after this many evaluations without improvement."""

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values, naming the flag."""
        _within("--epochs", self.epochs, 1, 1000)
        _within("--max-steps", self.max_steps, 0, 10**9)
        _within("--max-minutes", self.max_minutes, 0, 10**6)
        _within("--learning-rate", self.learning_rate, 0, 1)
        _within("--batch", self.batch, 1, 4096)
        _within("--accumulation", self.accumulation, 1, 4096)
        steps = self.warmup >= 1 and self.warmup == int(self.warmup)
        _within("--warmup", self.warmup, 0, 10**6 if steps else 0.9)
        _within("--weight-decay", self.weight_decay, 0, 1)
        _within("--clip", self.clip, 0, 1e6)
        _within("--evaluations", self.evaluations, 1, 1000)
        _within("--patience", self.patience, 1, 1000)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One run of `train-copilot`."""

    sources: tuple[str, ...]
    """As the user named them; see `origins.resolve`."""
    name: str
    output: Path
    model: ModelConfig = field(default_factory=ModelConfig)
    overwrite: bool = False
    resume: bool = False
    """Resume the interrupted run for this output."""
    weights: tuple[float, ...] = ()
    """Sampling weight of each source; empty means equal weights."""
    dry_run: bool = False
    """Read into the cache, plan, print, and stop before training."""
    verbose: bool = False
    """List every excluded file."""
    holes: int = 100
    """Held-out holes for the evaluation of base and adapter; 0 skips it."""
    canaries: int = 40
    """Redacted secrets that the trained model is probed for; 0 disables the probe."""
    fail_on_leak: bool = False
    """Discard the run if the model reproduces a secret."""
    data: DataConfig = field(default_factory=DataConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values, naming the flag."""
        _within("--holes", self.holes, 0, 10**6)
        _within("--canaries", self.canaries, 0, 10**6)
        if self.fail_on_leak and not self.canaries:
            raise UsageError("--fail-on-leak has nothing to test with --canaries 0: set --canaries to 1 or more.")


def resolve(config: TrainConfig, base: Base) -> TrainConfig:
    """`config` with every value that depends on the base filled in; raises UsageError for too large a context."""
    context = config.data.context_tokens or min(base.context, MOST_CONTEXT)
    if context > base.context:
        raise UsageError(
            f"--context-tokens {context} exceeds the context of base {base.id!r}: use at most {base.context}."
        )
    if context < LEAST_CONTEXTS * config.data.max_tokens:
        raise UsageError(
            f"--context-tokens is {context} and --max-tokens {config.data.max_tokens}: "
            f"use at least {LEAST_CONTEXTS} times as many."
        )
    rate = peak_rate(base.width) * (FULL_SHARE if config.lora.method == "full" else 1)
    if base.quantization and config.lora.method != "qlora":
        raise UsageError(f"Base {base.id!r} is quantised: train it with --method qlora, or name its 16-bit form.")
    return replace(
        config,
        model=replace(config.model, base=base.id, quantize=_quantize(config)),
        data=replace(config.data, context_tokens=context, order=config.data.taught_order),
        optim=replace(config.optim, learning_rate=config.optim.learning_rate or rate),
    )


def _quantize(config: TrainConfig) -> Quantize:
    """4 bits for QLoRA if this machine supports them well, 16 for LoRA; a fully trained base is evaluated as it is
    served.
    """
    if config.model.quantize == "int8":
        raise UsageError("--quantize int8 is for serving: train with nf4, none or auto. Adapters fit either.")
    if config.lora.method != "lora":
        return config.model.quantize
    if config.model.quantize == "nf4":
        raise UsageError("--method lora trains over 16-bit weights: leave out --quantize nf4, or use --method qlora.")
    return "none"


def peak_rate(width: int) -> float:
    """The peak learning rate for a base of this hidden size.

    Narrower layers need proportionally higher rates (Yang et al. 2022, arXiv 2203.03466, for Adam); trials on the tiny
    base of width 320 agree (docs/experiments.md). Bases wider than the reference keep its rate.
    """
    return REFERENCE_LR * max(1.0, REFERENCE_WIDTH / width)


def _within(flag: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{flag} must be between {low:g} and {high:g}, not {value:g}.")
