"""The language server protocol on the wire: bytes to frames, frames to messages of the right form, one answer to each.

In: bytes from an editor. Out: calls of handlers, and replies.
May import: nothing of the language server's.
"""
