"""Middleware around every request: access, limits, request ids, metrics, problem documents.

In: an ASGI application. Out: the same application, guarded and counted.
May import: `completion` and the layers below it; no endpoint.
"""
