"""Who computes: torch here, llama.cpp here, or another server with an OpenAI-style API.

In: a `ModelConfig`. Out: an engine, a tokenizer, the FIM format, a sampler and the adapters it can hold.
May import: `engine`, `models`, `prompt` and the root's modules; the three never import each other.
"""
