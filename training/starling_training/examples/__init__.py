"""From documents to training rows: the prompts are exactly serving's.

In: documents. Out: holes as editors ask for them, and rows of token ids with labels.
May import: `sources`, `starling_server.prompt`, `starling_server.postprocess`.
"""
