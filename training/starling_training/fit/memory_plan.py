"""Memory of a training run, computed from a base's shape. No torch: the plan is printed before anything is loaded."""

from dataclasses import dataclass
from typing import get_args

from starling_server.errors import UsageError
from starling_server.models.bases import Base
from starling_server.models.families.family import Shape
from starling_training.config import Method, TrainConfig

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per weight in NF4 with double quantisation: 4 bits, 8 per block of 64, and 32 per 256 of those blocks."""
HALF, SINGLE = 2, 4
"""Bytes of bfloat16 or float16, and of float32, the type of all trained weights."""
GIGA = 1e9
ADAM = 2
"""Values that AdamW stores per trained weight."""
LOGIT_BYTES = 12
"""Bytes per logit: the 16-bit logit and its gradient, and the 32-bit logit for the loss and its gradient."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak bytes of a run, without the memory of the libraries themselves."""

    weights: float
    adapter: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def states(self) -> float:
        """Bytes that are allocated for the whole run."""
        return self.weights + self.adapter + self.gradients + self.optimizer

    @property
    def total(self) -> float:
        """Peak bytes of the run."""
        return self.states + self.activations


def memory(
    of: Shape, method: Method, rank: int, batch: int, length: int, checkpointing: bool, frozen_bytes: int = HALF
) -> Memory:
    """Memory of `method` with `batch` examples of `length` tokens per forward pass.

    `frozen_bytes` is the size of one base weight under a LoRA: 2 as loaded here (16 bits); textbooks often use 4 (32
    bits).
    """
    learning = of.linear + of.other if method == "full" else of.adapter(rank)
    frozen = {
        "full": 0.0,
        "lora": float(frozen_bytes * (of.linear + of.other)),
        "qlora": NF4 * of.linear + HALF * of.other,
    }[method]
    single = float(SINGLE * learning)
    weights, adapter = (single, 0.0) if method == "full" else (frozen, single)
    kept = activations(of, method, batch * length, checkpointing)
    return Memory(weights, adapter, single, ADAM * single, kept)


def plans(base: Base, config: TrainConfig, on_gpu: bool, four_bits: bool) -> dict[Method, Memory]:
    """Memory of each method in a run of this resolved `config`; on GPUs, activations are computed twice.

    Without `four_bits`, QLoRA's base is loaded in 16 bits, as for LoRA.
    """
    of, optim = base.family.shape(base.config), config.optim
    methods: tuple[Method, ...] = get_args(Method)
    length = config.data.context_tokens
    loaded: dict[Method, Method] = {} if four_bits else {"qlora": "lora"}
    return {name: memory(of, loaded.get(name, name), config.lora.rank, optim.batch, length, on_gpu) for name in methods}


def check(planned: Memory, free: int) -> None:
    """Raise UsageError if weights, gradients and optimiser state do not fit into `free` bytes."""
    if planned.states > free:
        raise UsageError(
            f"This run holds {planned.states / GIGA:.1f} GB of weights, gradients and optimiser state, and "
            f"{free / GIGA:.1f} GB are free: use --method qlora or a smaller --base."
        )


def activations(of: Shape, method: Method, tokens: int, checkpointing: bool) -> float:
    """Bytes kept for the backward pass: all activations, or each block's input and one block's activations; plus
    logits.

    A block keeps the inputs of its norms, linear layers and activation, and the outputs of attention. A LoRA adds each
    linear layer's input after dropout, and the dropout mask.
    """
    inputs = sum(size for size, _ in of.matrices)
    block = HALF * (3 * of.width + 2 * of.key + inputs + of.expanded)
    if method != "full":
        block += (HALF + 1) * inputs
    blocks = of.layers * HALF * of.width + block if checkpointing else of.layers * block
    return float(tokens * (blocks + LOGIT_BYTES * of.vocabulary))
