"""Completers: a model in this process, a running server, or the server shared by all editors of a user.

In: options and a folder. Out: a completer, reconnected after a loss.
May import: `options`, `status`, `state`, and the server's `client`, `schema`, `models.adapters`, `serve.start` (late).
"""
