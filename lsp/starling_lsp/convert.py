"""Between the protocol's items and suggestions: what a suggestion replaces, and what goes with it."""

import re

from lsprotocol import types

from starling_lsp.documents import Cursor, Document

ACCEPTED = "starling.accepted"
_ONLY_CLOSERS = re.compile(r"\W*$")


def item(document: Document, span: types.Range, cursor: Cursor, text: str, id: str) -> types.InlineCompletionItem:
    """One inline completion of `text` in place of `span`, which is empty unless the editor's popup fills it.

    Always with a range, since VS Code would replace from the word's start without one; its command's `suffix` is
    the length of the replaced text after the cursor in client units, which editors need where the user typed on.
    """
    text = text.replace("\r\n", "\n")
    replaced = replaces(text, cursor.rest)
    units = document.position_codec.client_num_units(replaced)
    end = types.Position(span.end.line, span.end.character + units)
    accepted = types.Command("Accepted", ACCEPTED, arguments=[{"id": id, "suffix": units}])
    return types.InlineCompletionItem(text + replaced, range=types.Range(span.start, end), command=accepted)


def replaces(text: str, rest: str) -> str:
    """What of the line's `rest` the suggestion takes along to its end: all of it, or nothing.

    Several lines cannot be shown in front of a rest, and closers or blanks read better as part of what is shown.
    It is repeated behind the text, because a suggestion is what goes in *before* it, and because VS Code hides
    whatever would delete a character.
    """
    return rest if "\n" in text or _ONLY_CLOSERS.match(rest) else ""
