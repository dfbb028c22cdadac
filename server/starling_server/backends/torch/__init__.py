"""Bases computed by torch: 4 bits, 8 bits or 16, on a CPU or a GPU.

In: a `ModelConfig`. Out: loaded weights, and a runner that feeds tokens and gives logits.
May import: `engine.protocols`, `models`, `prompt` and the root's modules.
"""
