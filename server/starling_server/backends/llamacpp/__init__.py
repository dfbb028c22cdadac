"""Inference by llama.cpp from GGUF files, which `gguf_export` writes. No torch.

In: a `ModelConfig`. Out: a GGUF file in the cache, and a runner that feeds tokens and returns logits.
May import: `engine.protocols`, `models`, `prompt` and the root's modules.
"""
