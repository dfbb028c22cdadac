"""Loads a base and its tokenizer; contains all workarounds for bitsandbytes."""

import logging
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import bitsandbytes as bnb
import torch
from bitsandbytes.functional import dequantize_4bit
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from starling_server.backends.torch import int8, weight_format
from starling_server.backends.torch.device import find_base, find_device, four_bits_are_usual, free_bytes, has_bfloat16
from starling_server.config import DTYPES, DType, ModelConfig, Quantize
from starling_server.errors import BaseModelError
from starling_server.models import bases
from starling_server.models.bases import Base
from starling_server.models.tokenizer import FileTokenizer, load_tokenizer
from starling_server.prompt.fim import Fim
from starling_server.untrusted import shown

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A base in memory."""

    base: Base
    fingerprint: str
    model: PreTrainedModel
    tokenizer: FileTokenizer
    fim: Fim

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.device


def load(config: ModelConfig, training: bool = False) -> Loaded:
    """Load base and tokenizer in the fastest form for serving, or a trainable one; raises BaseModelError."""
    base = find_base(config)
    tokenizer = load_tokenizer(base)
    sentinels = base.fim(tokenizer)
    if max(sentinels.stops) >= base.config["vocab_size"]:
        raise BaseModelError(
            f"The tokenizer of base {base.id!r} has FIM tokens that its weights do not have: choose a base that was "
            "trained with FIM, or download it again."
        )
    device = find_device(config)
    form, dtype = _form(config, base, device, training)
    with quiet():
        model = _from_pretrained(base, device, dtype, form)
    _free_unused(model)
    model.eval().requires_grad_(False)
    if form == "int8":
        int8.quantise(model)
    return Loaded(base, bases.fingerprint(base), model, tokenizer, sentinels)


def keep_four_bit_weights_trainable(model: torch.nn.Module) -> None:
    """Disable bitsandbytes' repacked CPU path.

    With AVX512-BF16 an evaluation forward repacks 4-bit weights in place; the next training step then crashes, and
    dequantising silently returns garbage (bitsandbytes 0.50). Serving only evaluates, so it keeps the repacked path.
    """
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def save_memory(model: PreTrainedModel) -> None:
    """Recompute activations in the backward pass: takes a third more time and a fraction of the memory.

    `prepare_model_for_kbit_training` is not used, because it would also convert the embeddings to float32.
    """
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    model.config.use_cache = False


def dequantised(model: torch.nn.Module) -> Mapping[str, Callable[[], torch.Tensor]]:
    """Each 4-bit layer's dequantised weight, by layer name: in the compute type, on the CPU.

    The model must be freshly loaded, without a forward so far; `keep_four_bit_weights_trainable` is applied to it.
    peft's `merge_and_unload` is not used, because it would round to 4 bits again.
    """
    keep_four_bit_weights_trainable(model)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, bnb.nn.Linear4bit)}
    return {name: partial(_dequantised, layer) for name, layer in layers.items()}


@contextmanager
def quiet() -> Generator[None]:
    """Suppress the loaders' progress bars, log lines and warnings."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _from_pretrained(base: Base, device: torch.device, dtype: torch.dtype, form: Quantize) -> PreTrainedModel:
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,  # bitsandbytes' default is float32
    )
    _check_installed(base)
    try:
        return AutoModelForCausalLM.from_pretrained(
            base.path,
            dtype="auto" if form == "int8" else dtype,  # int8: as stored, converted layer by layer
            device_map={"": device},
            # An explicit None would override a quantisation in the base's own config.
            **({"quantization_config": four_bit} if form == "nf4" else {}),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except torch.OutOfMemoryError as error:
        raise BaseModelError(
            f"Base {base.id!r} does not fit this GPU's memory: choose a smaller --base, or --device cpu."
        ) from error
    except Exception as error:  # untrusted configs and weights can raise anything in transformers
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BaseModelError(
            f"The weights of base {base.id!r} cannot be loaded ({first}): download it again."
        ) from error


def _check_installed(base: Base) -> None:
    """Raise BaseModelError if the library that quantised the base is not supported or not installed."""
    known = {"bitsandbytes": "bitsandbytes", "gptq": "gptqmodel", "awq": "gptqmodel"}
    package = known.get(base.quantization or "bitsandbytes")
    if package is None:
        names = ", ".join(sorted(known))
        raise BaseModelError(
            f"Base {base.id!r} is quantised as {base.quantization!r}; supported are {names}: choose another form of it."
        )
    if not find_spec(package):
        raise BaseModelError(f"Base {base.id!r} is quantised with {base.quantization}: pip install {package} optimum")


def compute_dtype(device: torch.device, name: DType = "auto") -> torch.dtype:
    """Compute type of forwards on `device`.

    CPUs without AVX512-BF16 emulate bfloat16 at a hundredth of float32's speed in large products.
    """
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cpu":
        return torch.bfloat16 if has_bfloat16() else torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _form(config: ModelConfig, base: Base, device: torch.device, training: bool) -> tuple[Quantize, torch.dtype]:
    """Weight format and compute type."""
    if config.quantize == "int8":
        return _int8(base, device)
    if base.quantization is not None and config.dtype == "auto":
        stored = base.config["quantization_config"].get("bnb_4bit_compute_dtype", "bfloat16")
        if stored not in DTYPES[1:]:
            raise BaseModelError(f"Base {base.id!r} computes in {shown(stored)}: add --dtype {DTYPES[1]}.")
        return "none", getattr(torch, stored)  # another type would apply to only some of its tensors
    asked = config.quantize != "auto" or config.dtype != "auto"
    if asked or device.type != "cpu" or has_bfloat16():
        return _quantize(config, base, device), compute_dtype(device, config.dtype)
    form, reason = weight_format.fastest(bases.weights(base), base.width, free_bytes(device), training)
    log.info("this CPU lacks AVX512-BF16, which 4-bit weights need to be fast: serving %s (%s)", form.name, reason)
    return form.quantize, form.dtype


def _int8(base: Base, device: torch.device) -> tuple[Quantize, torch.dtype]:
    if device.type != "cpu":
        raise BaseModelError("--quantize int8 is for CPUs: leave it out, or add --device cpu.")
    if base.quantization is not None:
        raise BaseModelError(f"Base {base.id!r} is quantised already: leave out --quantize int8.")
    return "int8", torch.float32


def _quantize(config: ModelConfig, base: Base, device: torch.device) -> Quantize:
    """The requested format, or this device's default; `none` if the base's own config defines a quantisation."""
    if base.quantization is not None:
        return "none"
    if config.quantize != "auto":
        return config.quantize
    return "nf4" if four_bits_are_usual(device) else "none"


def _dequantised(layer: bnb.nn.Linear4bit) -> torch.Tensor:
    weight: Any = layer.weight
    assert not getattr(weight.quant_state, "packing_format_for_cpu", False), "repacked by a forward: garbage would come"
    with torch.no_grad():
        return dequantize_4bit(weight.data, weight.quant_state).cpu()


def _free_unused(model: Any) -> None:
    """Free GPTBigCode's causal mask of n_positions² bools (64 MB at 8k), which no forward reads."""
    if hasattr(model, "transformer") and hasattr(model.transformer, "bias"):
        del model.transformer.bias
