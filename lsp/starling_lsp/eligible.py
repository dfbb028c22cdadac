"""Places without suggestions, and the reason for the editor's status line."""

from lsprotocol import types

from starling_lsp.documents import Document
from starling_lsp.options import Options

LONGEST_LINE = 5_000
"""Max line length in characters; longer lines are data or minified code."""


OUT_OF_STEP = "An edit of this document could not be read: close the document and open it again."


def why_not(document: Document, position: types.Position, options: Options) -> str:
    """The reason, one sentence, why there are no suggestions at this position; empty if there are."""
    if not document.in_step:
        return OUT_OF_STEP
    language = document.language_id or ""
    if not options.enabled(language):
        return f"Suggestions are off for {language or 'this language'}."
    if not document.is_code:
        return "This document is too large or not text."
    if len(document.line_at(position)) > LONGEST_LINE:
        return "This line is too long."
    return ""
