"""When a suggestion has said enough, and what of it may be inserted. Pure functions of text; no tokens, no torch.

In: the cursor's surroundings and raw model text. Out: the scope to fill, where to stop, trimmed text.
May import: `prompt`, `config`.
"""
