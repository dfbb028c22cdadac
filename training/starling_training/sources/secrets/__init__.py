"""Secrets in code to typed placeholders, before anything is kept or learnt from.

In: a file's text. Out: the same text with placeholders, and which secrets were where.
May import: nothing of ours.
"""
