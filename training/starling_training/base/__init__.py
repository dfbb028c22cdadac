"""The recipe of the bundled base: corpus, vocabulary, pre-training with fill-in-the-middle, and its figures.

In: pinned packages. Out: a base's folder, which `--base` takes; every stage leaves its result and can be resumed.
May import: `scoring`, `examples`, `sources`, `starling_server.backends.torch`.
"""
