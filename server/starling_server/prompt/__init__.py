"""The prompt that serving sends and that training learns from.

In: text left and right of the cursor, a token budget, a vocabulary. Out: token ids in the model family's FIM order.
May import: `errors`.
"""
