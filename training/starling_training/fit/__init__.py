"""Training itself: preparation, plan and memory, methods, the loop, checkpoints, the retry after running out of memory.

In: rows and a loaded base. Out: weights, and the curve of losses.
May import: `examples`, `sources`, `starling_server.backends.torch`, `starling_server.models`.
"""
