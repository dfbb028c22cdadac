"""GGUF files of any origin as bases: what their header says, checked, in the form of a Hugging Face folder.

In: the path of a GGUF file. Out: its header; a folder with config.json and tokenizer.json. No weights are read.
May import: `families`, `untrusted`, `errors`; the package gguf only where sizes of its types are needed.
"""
