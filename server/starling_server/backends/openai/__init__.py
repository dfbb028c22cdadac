"""Inference by another server (vLLM, SGLang, llama-server): streams, retries, circuit breaker. No torch, no weights.

In: a server's address. Out: an engine that takes its tokens from that server.
May import: `engine`, `models`, `prompt` and the root's modules.
"""
