"""Tensors of a GGUF file as numpy arrays, dequantised one at a time."""

from math import prod

import numpy as np
from numpy.typing import NDArray

from starling_server import untrusted
from starling_server.models.gguf_base.header import Tensor, nbytes
from starling_server.untrusted import Unfit

Floats = NDArray[np.float32]


def values(tensor: Tensor) -> Floats:
    """The tensor in float32; raises OSError, and Unfit for a type that the package gguf cannot dequantise."""
    from gguf import GGMLQuantizationType, quants

    try:
        kind = GGMLQuantizationType(tensor.kind)
        with untrusted.opened(tensor.file) as stream:
            stream.seek(tensor.start)
            stored = np.frombuffer(stream.read(nbytes(tensor)), np.uint8)
        rows = prod(tensor.shape[:-1])
        return quants.dequantize(stored.reshape(rows, -1), kind).astype(np.float32, copy=False).reshape(tensor.shape)
    except (NotImplementedError, ValueError, KeyError) as error:
        raise Unfit(f"has weights of ggml's type {tensor.kind}, which only llama.cpp can read") from error
