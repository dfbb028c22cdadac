"""The training methods: a LoRA adapter over a frozen base, in 4 or 16 bits, or all weights of the base.

LoRA covers every linear layer of the blocks but not the head. Full training keeps weights in float32, computes in 16
bits and writes bfloat16; the result is served like any base.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log
from pathlib import Path

import peft
import torch
from peft import PeftMixedModel, PeftModel, get_peft_model
from transformers import PreTrainedModel

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded
from starling_server.errors import BaseModelError, UsageError
from starling_server.models import bases
from starling_server.prompt.fim import Order
from starling_training import staging
from starling_training.config import LoraConfig, TrainConfig

UNTRAINED = 0.8
"""A start loss above this share of ln(vocabulary), the loss of random guessing, means that the base is untrained. A
fixed limit does not work: 5.5 was a broken base with a vocabulary of 49k in a published notebook (0.51 of its random
loss), while the tiny base starts at 4.6 on middles, also near 0.51. Random weights start at 1.0."""
USUAL = (0.3, 3.5)
"""Start losses of released code models; a notice is printed outside this range."""
CONFIG = "config.json"
COPIED = ("*.json", "*.txt", "*.model")
"""Files of a base besides its weights: the tokenizer's, in any format."""


@dataclass(frozen=True, slots=True)
class Trainee:
    """A model to train."""

    model: PreTrainedModel | PeftModel
    loaded: Loaded
    """The base: the model itself with `--method full`, otherwise the frozen model under the adapter."""
    save: Callable[[Path], None]
    """Write the trained weights into a folder."""


def load(config: TrainConfig) -> Trainee:
    """Load the base and make the weights of `config.lora.method` trainable."""
    torch.manual_seed(config.data.seed)
    if config.lora.method == "full":
        loaded = loading.load(replace(config.model, quantize="none", dtype="float32"))
        return Trainee(unfreeze(loaded), loaded, lambda folder: save_base(loaded, folder, config.data.taught_order))
    loaded = loading.load(config.model, training=True)
    model = wrap(loaded, config.lora)
    return Trainee(model, loaded, lambda folder: save_adapter(model, loaded, folder))


def wrap(loaded: Loaded, config: LoraConfig) -> PeftModel:
    """The base of `loaded` with a new adapter around it, ready to train; raises UsageError for unknown targets."""
    loading.keep_four_bit_weights_trainable(loaded.model)
    without_dropout(loaded.model)
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


def save_adapter(model: PeftModel, loaded: Loaded, folder: Path) -> None:
    """Write the adapter without peft's model card and with the base's id instead of its local path."""
    for shape in model.peft_config.values():
        shape.base_model_name_or_path = loaded.base.id
    with staging.staged(folder, overwrite=True) as new:
        model.save_pretrained(str(new), save_embedding_layers=False)
        (new / "README.md").unlink(missing_ok=True)


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The trainable weights."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def keep_full_precision(model: torch.nn.Module) -> None:
    """Cast the trainable weights to float32; trl casts them to bfloat16 over 4-bit bases.

    bfloat16 has 8 bits of mantissa: near the end of the cosine schedule, rounding loses AdamW's steps.
    """
    for parameter in trainable(model):
        parameter.data = parameter.data.float()


def check_start(loss: float, vocabulary: int) -> str | None:
    """A notice about an unusual start `loss`, in nats per token; raises BaseModelError for an untrained base."""
    guessing = log(vocabulary)
    if loss > UNTRAINED * guessing:
        raise BaseModelError(
            f"The base's loss on this source is {loss:.1f} nats per token, close to random guessing ({guessing:.1f}): "
            "its weights are untrained or damaged. Choose another --base or download it again."
        )
    if not USUAL[0] <= loss <= USUAL[1]:
        low, high = USUAL
        return f"The base's initial loss is {loss:.2f} nats per token; released bases start between {low} and {high}."
    return None


def unfreeze(loaded: Loaded) -> PreTrainedModel:
    """The base of `loaded` with all weights trainable and without dropout, as at the end of pre-training."""
    if loaded.device.type == "cuda":
        loading.save_memory(loaded.model)
    return without_dropout(loaded.model).requires_grad_(True)


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """`model` with every dropout probability set to 0, whether a module's or a number that its forward reads.

    Bases are published with 0.1. Only an adapter's own dropout, added afterwards, regularises.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in [
            name for name, value in vars(module).items() if name.endswith("dropout") and isinstance(value, float)
        ]:
            setattr(module, name, 0.0)
    return model


def save_base(loaded: Loaded, folder: Path, order: Order) -> None:
    """Write the current weights as a base of their own, with the tokenizer and the order of its prompts."""
    half = torch.bfloat16
    with staging.staged(folder, overwrite=True) as new:
        for pattern in COPIED:
            for file in loaded.base.path.glob(pattern):
                if not file.name.endswith(".index.json"):
                    shutil.copyfile(file, new / file.name)
        cast = dict[int, torch.Tensor]()  # keyed by address, so that a tied head stays tied
        state = loaded.model.state_dict()
        weights = {name: cast.setdefault(weight.data_ptr(), weight.to(half)) for name, weight in state.items()}
        with loading.quiet():
            loaded.model.save_pretrained(str(new), state_dict=weights)
        config = json.loads((new / CONFIG).read_text(encoding="utf-8"))
        config |= {"dtype": str(half).removeprefix("torch."), "use_cache": True}  # undo the changes for training
        if order != loaded.fim.order:
            config |= {bases.ORDER: order}
        (new / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
