"""Bases and adapters as GGUF files, as llama.cpp reads them. No torch; the package gguf only where it is written."""

from typing import Literal, get_args

Kind = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
"""What a base's matrices can be stored as; gguf writes no other quantised type that llama.cpp's users ask for."""
KINDS: tuple[Kind, ...] = get_args(Kind)
