"""What is on this disk: bases, adapters, their manifests, weights and tokenizers. No tensors are computed here.

In: names and folders. Out: a `Base`, an `Adapter`, its versions, numpy arrays, a tokenizer.
May import: `prompt`, `config`, `errors`.
"""
