"""Outcomes of suggestions: shown, accepted, typed through, kept. Only counts and lengths, stored on this disk only.

In: suggestions and document changes. Out: a journal on disk, and its table.
May import: `state`.
"""
