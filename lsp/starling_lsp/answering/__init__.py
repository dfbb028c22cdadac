"""Who answers the editor: a model in this process, a running server, or the server that all of a user's editors share.

In: options and a folder. Out: a completer, found again after it was lost.
May import: `options`, `status`, `state`, and the server's `client`, `schema`, `models.adapters`, `serve.start` (late).
"""
