"""What becomes of suggestions: shown, accepted, typed through, kept. Counts and lengths only; nothing leaves this disk.

In: what was suggested, and the document as it changes. Out: a journal on disk, and its table.
May import: `state`.
"""
