"""Another server computes (vLLM, SGLang, llama-server): its streams, retries and circuit breaker. No torch, no weights.

In: a server's address. Out: an engine whose tokens come from there.
May import: `engine`, `models`, `prompt` and the root's modules.
"""
