"""Fastest weight format on a CPU without bfloat16 arithmetic, measured on the machine.

With AVX512-BF16 the fastest format is 4-bit. Without it, every 4-bit product first dequantises a whole matrix, bfloat16
is emulated, float32 reads four times the bytes of int8, and int8 is slower with many rows. The best format depends on
the size of the matrices, the processor's caches and the memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import bitsandbytes as bnb
import torch
from torch import Tensor, nn

from starling_server.backends.torch.int8 import Int8Linear
from starling_server.config import Quantize

SMALL = 1 << 27
"""Max number of weights for which float32 is chosen without measuring. int8 takes two thirds of its time per token
(docs/experiments.md), but int8's results are bfloat16, so the cache's content can decide a near tie; a small base is
fast enough in float32."""
DECODED, READ = 16, 2
"""Forwards of a typical suggestion: single-token ones, and chunks."""
CHUNK = 64
MATRICES = 4
"""Number of matrices multiplied in turn, so that none stays in the processor's cache, as in a real model."""
SPARE = 0.8
"""Share of the free memory that weights may take."""


@dataclass(frozen=True, slots=True)
class Form:
    """Storage format and compute type of the weights."""

    name: str
    quantize: Quantize
    dtype: torch.dtype
    weight_bytes: float
    """Bytes per weight during loading."""
    trains: bool = True
    """Whether gradients flow through the format, as training an adapter requires."""


FLOAT32 = Form("float32", "none", torch.float32, 4)
FORMS = (
    FLOAT32,
    Form("bfloat16", "none", torch.bfloat16, 2),
    Form("int8", "int8", torch.float32, 2.2, trains=False),
    Form("nf4", "nf4", torch.float32, 0.516),
)


def fastest(weights: int, width: int, free_bytes: int, training: bool = False) -> tuple[Form, str]:
    """The fastest form for a base of this number of weights and this width, with the reason as text."""
    fitting = [form for form in FORMS if weights * form.weight_bytes <= SPARE * free_bytes] or [FORMS[-1]]
    if training:
        fitting = [form for form in fitting if form.trains]
    if fitting[0] is FLOAT32 and weights <= SMALL:
        return FLOAT32, "the base is small"
    if len(fitting) == 1:
        return fitting[0], "nothing larger fits the free memory"
    cost = {form.name: _cost(form, width) for form in fitting}
    best = min(fitting, key=lambda form: cost[form.name])
    return best, ", ".join(f"{name} {milliseconds:.0f} ms" for name, milliseconds in cost.items())


def _cost(form: Form, width: int) -> float:
    """Milliseconds per suggestion spent on one matrix of the base."""
    multiply = [_product(form, width) for _ in range(MATRICES)]
    one, chunk = (_milliseconds(multiply, torch.randn(rows, width, dtype=form.dtype)) for rows in (1, CHUNK))
    return DECODED * one + READ * chunk


def _product(form: Form, width: int) -> Callable[[Tensor], Tensor]:
    layer = nn.Linear(width, 4 * width, bias=False, dtype=form.dtype)
    if form.quantize == "none":
        return layer
    if form.quantize == "int8":
        return Int8Linear(layer)
    four = bnb.nn.Linear4bit(
        width, 4 * width, bias=False, compute_dtype=form.dtype, quant_type="nf4", compress_statistics=True
    )
    four.weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")  # pyright: ignore
    return four.to("cpu")


@torch.inference_mode()
def _milliseconds(products: list[Callable[[Tensor], Tensor]], rows: Tensor) -> float:
    """Mean time of one product in milliseconds, best of three rounds over all products."""
    times = list[float]()
    for _ in range(3):
        started = perf_counter()
        for multiply in products:
            multiply(rows)
        times.append((perf_counter() - started) * 1e3 / len(products))
    return min(times)
