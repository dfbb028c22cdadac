"""Redacts secrets in code with typed placeholders, before anything is stored or trained on.

In: a file's text. Out: the same text with placeholders, and the kind and place of each secret.
May import: no other room.
"""
