"""Families of bases, one row each: their special tokens, prompts, layers and GGUF names.

In: a base's model type and tokenizer. Out: its row, and its fill-in-the-middle format.
May import: `starling_server.prompt`.
"""
