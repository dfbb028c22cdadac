"""From documents to training rows, with exactly the prompts used in serving.

In: documents. Out: holes as in requests from editors, and rows of token ids with labels.
May import: `sources`, `starling_server.prompt`, `starling_server.postprocess`, `starling_server.context`.
"""
