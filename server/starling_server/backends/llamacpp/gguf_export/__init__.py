"""Bases and adapters as GGUF files, as llama.cpp reads them. No torch; the package gguf only where it is written."""

from starling_server.config import GGML_TYPES, GgmlType

Kind = GgmlType
KINDS = GGML_TYPES
