"""The recipe of the bundled base: corpus, vocabulary, pre-training with fill-in-the-middle, and its figures."""
