"""The HTTP endpoints and the page, as one ASGI application.

In: requests. Out: JSON, server-sent events, the page.
May import: `middleware`, `completion` and the layers below it; never a backend.
"""
