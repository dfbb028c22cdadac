"""Bases and adapters as GGUF files, as llama.cpp reads them. No torch.

In: a base's folder, an adapter's folder, a quantisation type. Out: GGUF files, kept in the cache and used again.
May import: `models`, `prompt` and the root's modules; the package gguf only where a file is written.
"""

from starling_server.config import GGML_TYPES, GgmlType

Kind = GgmlType
KINDS = GGML_TYPES
