"""A LoRA over a loaded base, ready to train: every linear layer of the blocks, the head left alone."""

from math import log
from pathlib import Path

import peft
import torch
from peft import PeftMixedModel, PeftModel, get_peft_model

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded
from starling_server.errors import BaseModelError, UsageError
from starling_training import staging
from starling_training.config import LoraConfig

GUESSING = 0.8
"""A start loss above this share of ln(vocabulary), the loss of guessing at random, is no trained model. A fixed
bound cannot say that: 5.5 was a broken 49k-token base in a published notebook, and the tiny base honestly starts
at 4.6 on middles; random weights start at 1.0 of it, tiny and that notebook near 0.51."""
USUAL = (0.3, 3.5)
"""Where the released StarCoders start; outside it a notice is printed."""


def wrap(loaded: Loaded, config: LoraConfig) -> PeftModel:
    """The base of `loaded` with a new adapter around it, in training form."""
    loading.keep_four_bit_weights_trainable(loaded.model)
    if loaded.device.type == "cuda":
        loading.save_memory(loaded.model)
    shape = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.layers,
        task_type="CAUSAL_LM",
    )
    try:
        with loading.quiet():
            wrapped = get_peft_model(loaded.model, shape)
    except ValueError as error:
        raise UsageError(
            f"Base {loaded.base.id!r} has no layers {config.targets}: use --targets all-linear."
        ) from error
    assert not isinstance(wrapped, PeftMixedModel)
    return wrapped


def save(model: PeftModel, loaded: Loaded, folder: Path) -> None:
    """Write the adapter; peft's own card goes, and so does its record of where the base lay on this disk."""
    for shape in model.peft_config.values():
        shape.base_model_name_or_path = loaded.base.id
    with staging.staged(folder, overwrite=True) as new:
        model.save_pretrained(str(new), save_embedding_layers=False)
        (new / "README.md").unlink(missing_ok=True)


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The weights that learn."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def keep_full_precision(model: torch.nn.Module) -> None:
    """Raise the weights that learn to float32, which trl lowers to bfloat16 over 4-bit bases.

    bfloat16 has 8 bits of mantissa: near the end of the cosine AdamW's steps are lost in rounding.
    """
    for parameter in trainable(model):
        parameter.data = parameter.data.float()


def check_start(loss: float, vocabulary: int) -> str | None:
    """A notice about an unusual start `loss` (nats per token); raises BaseModelError where the base is broken."""
    guessing = log(vocabulary)
    if loss > GUESSING * guessing:
        raise BaseModelError(
            f"The base predicts this source at {loss:.1f} nats per token, hardly better than guessing ({guessing:.1f}):"
            " its weights are untrained or damaged; choose another --base or download it again."
        )
    if not USUAL[0] <= loss <= USUAL[1]:
        low, high = USUAL
        return f"The base starts at {loss:.2f} nats per token; released StarCoders lie between {low} and {high}."
    return None
