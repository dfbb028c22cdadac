"""Reads SOURCE arguments into documents to train on. No torch.

In: a folder, a git URL, a dataset, a file of rows. Out: a `Corpus` of cleaned documents, and its split.
May import: `starling_server.prompt`, and of the root `config`, `processes`, `staging`.
"""
