"""Middleware around every request: access, limits, request ids, metrics, problem documents.

In: an ASGI application. Out: the application with access control, limits and metrics.
May import: `completion` and the layers below it; no endpoint.
"""
