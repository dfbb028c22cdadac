"""Which form weights are served in where bfloat16 is emulated."""

import pytest

from starling_server.backends.torch import weight_format
from starling_server.models import bases

GIB = 1 << 30


def test_a_small_base_is_float32_unasked() -> None:
    assert weight_format.fastest(11_500_000, 320, 8 * GIB) == (weight_format.FLOAT32, "the base is small")


@pytest.mark.parametrize(
    ("free", "names"), [(100, {"float32", "bfloat16", "int8", "nf4"}), (24, {"bfloat16", "int8", "nf4"})]
)
def test_what_fits_is_measured(free: int, names: set[str]) -> None:
    """A narrow matrix stands for a wide one, so that it takes no time."""
    form, reason = weight_format.fastest(7_300_000_000, 256, free * GIB)
    assert form.name in names
    assert {part.split()[0] for part in reason.split(", ")} == names


def test_only_four_bits_fit() -> None:
    form, reason = weight_format.fastest(7_300_000_000, 4096, 8 * GIB)
    assert form.quantize == "nf4"
    assert reason == "nothing larger fits the free memory"


def test_sizes_are_read_off_the_files() -> None:
    tiny = bases.find("tiny")
    assert tiny.width == 320
    assert bases.weights(tiny) == pytest.approx(11_500_000, rel=0.01)
