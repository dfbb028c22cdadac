"""Where nothing is suggested, and what the editor's status line says there."""

from lsprotocol import types

from starling_lsp.documents import Document
from starling_lsp.options import Options

LONGEST_LINE = 5_000
"""Characters; longer lines are data or minified code."""


def why_not(document: Document, position: types.Position, options: Options) -> str:
    """One sentence that says why this place gets no suggestions; empty where it does."""
    language = document.language_id or ""
    if not options.enabled(language):
        return f"Suggestions are off for {language or 'this language'}."
    if not document.is_code:
        return "This document is too large or not text."
    if len(document.line_at(position)) > LONGEST_LINE:
        return "This line is too long."
    return ""
