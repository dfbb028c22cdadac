"""Training itself: the plan, what fits into memory, the loop, checkpoints.

In: rows and a loaded base. Out: weights, and the curve of losses.
May import: `examples`, `sources`, `starling_server.backends.torch`, `starling_server.models`.
"""
