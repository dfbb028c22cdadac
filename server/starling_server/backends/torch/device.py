"""Which device and base a configuration means on this machine; loads torch alone, none of the model libraries."""

import psutil
import torch

from starling_server.config import ModelConfig
from starling_server.errors import BaseModelError
from starling_server.models import bases
from starling_server.models.bases import Base
from starling_server.models.catalogue import auto


def gpu_bytes() -> int:
    """Total memory of the first CUDA GPU in bytes; 0 without a GPU."""
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0


def free_bytes(device: torch.device) -> int:
    """Free memory in bytes, of the GPU or of the machine."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def find_base(config: ModelConfig) -> Base:
    """The base that `config` names, as a folder; `auto` is resolved for this machine, and the reason is logged."""
    base = bases.find(auto.named(config.base, 0 if config.device == "cpu" else gpu_bytes()))
    if base.gguf is None:
        return base
    from starling_server.backends.torch import gguf_weights  # loads transformers

    return gguf_weights.as_folder(base)


def find_device(config: ModelConfig) -> torch.device:
    """The device for the weights; raises BaseModelError."""
    name = config.device
    if name == "auto":
        name = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BaseModelError(f"--device {name}: there is no CUDA GPU here; use --device cpu.")
    return torch.device(name)


def in_four_bits(config: ModelConfig) -> bool:
    """Whether `load` quantises weights to 4 bits on this machine."""
    return config.quantize == "nf4" or (config.quantize == "auto" and four_bits_are_usual(find_device(config)))


def four_bits_are_usual(device: torch.device) -> bool:
    """Whether weights are quantised to 4 bits here unless the settings say otherwise."""
    return device.type != "cpu" or has_bfloat16()


def has_bfloat16() -> bool:
    """Whether this CPU has AVX512-BF16, which makes bfloat16 and 4-bit weights fast."""
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    from bitsandbytes.functional import has_avx512bf16  # seconds of imports

    return bool(has_avx512bf16())  # an int, 1 or 0
