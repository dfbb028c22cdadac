"""Reads SOURCE arguments into documents to train on. No torch.

Input: a folder, a git URL, a dataset, a file of rows. Output: a `Corpus` of cleaned documents, and its split. May
import: `starling_server.prompt`, and of the root `config`, `processes`, `staging`.
"""
