"""Writes bases and adapters as GGUF files for llama.cpp. No torch; only the writing modules import `gguf`."""

from starling_server.config import GGML_TYPES, GgmlType

Kind = GgmlType
KINDS = GGML_TYPES
