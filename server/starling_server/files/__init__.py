"""Which files of a folder are source code, and their text without secrets: the same for training and for the index.

In: a folder that may be hostile. Out: paths, languages, and texts with placeholders for secrets.
May import: `prompt`, and of the root `errors`, `printable`.
"""
