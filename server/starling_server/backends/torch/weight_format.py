"""In which form a CPU without bfloat16 arithmetic serves a base fastest: asked of the machine, not assumed.

With AVX512-BF16 it is 4 bits. RemoteModels every 4-bit product dequantises a whole matrix first, bfloat16 is emulated,
float32 reads four times the bytes of int8, and int8 is slower with many rows: which is best depends on the matrices'
size, the caches and the memory.
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
"""Weights up to which float32 is taken unasked. int8 takes two thirds of its time a token (docs/experiments.md), but as
its results are bfloat16, a near tie may fall by what is in the cache, and a small base is quick enough."""
DECODED, READ = 16, 2
"""Forwards of one token and of a chunk that an ordinary suggestion takes."""
CHUNK = 64
MATRICES = 4
"""Multiplied in turn, so that none stays in the processor's cache as it never does in a model."""
SPARE = 0.8
"""Share of the free memory that weights may take."""


@dataclass(frozen=True, slots=True)
class Form:
    """How weights are held and computed with."""

    name: str
    quantize: Quantize
    dtype: torch.dtype
    weight_bytes: float
    """Of one weight, while it is loaded."""
    trains: bool = True
    """Whether gradients flow through it, as an adapter's training needs."""


FLOAT32 = Form("float32", "none", torch.float32, 4)
FORMS = (
    FLOAT32,
    Form("bfloat16", "none", torch.bfloat16, 2),
    Form("int8", "int8", torch.float32, 2.2, trains=False),
    Form("nf4", "nf4", torch.float32, 0.516),
)


def fastest(weights: int, width: int, free_bytes: int, training: bool = False) -> tuple[Form, str]:
    """The form for a base of so many weights and this width, and the reason in words."""
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
    """Milliseconds that one matrix of the base takes of a suggestion."""
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
    """A product's time, the best of three rounds over all of them."""
    times = list[float]()
    for _ in range(3):
        started = perf_counter()
        for multiply in products:
            multiply(rows)
        times.append((perf_counter() - started) * 1e3 / len(products))
    return min(times)
