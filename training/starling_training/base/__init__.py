"""Build of the bundled base model: corpus, vocabulary, pre-training with fill-in-the-middle (FIM) and evaluation.

In: pinned packages. Out: a model folder for `--base`. Every stage writes its result and can be resumed.
May import: `scoring`, `examples`, `sources`, `starling_server.backends.torch`.
"""
