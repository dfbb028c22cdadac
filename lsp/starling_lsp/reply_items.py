"""Conversion of suggestions to the protocol's items: replaced range, text and command."""

import re

from lsprotocol import types

from starling_lsp.documents import Cursor, Document

ACCEPTED = "starling.accepted"
_WORD = re.compile(r"\w+\Z")
_ONLY_CLOSERS = re.compile(r"\W*$")


def item(document: Document, span: types.Range, cursor: Cursor, text: str, id: str) -> types.InlineCompletionItem:
    """An inline completion that replaces `span` with `text`; `span` is empty unless a popup entry is selected.

    The range is always set, since VS Code would otherwise replace from the start of the word. The command's `suffix` is
    the length of the replaced text after the cursor in client units; editors need it if the user has typed on.
    """
    text = text.replace("\r\n", "\n")
    replaced = replaces(text, cursor.rest)
    units = document.position_codec.client_num_units(replaced)
    end = types.Position(span.end.line, span.end.character + units)
    accepted = types.Command("Accepted", ACCEPTED, arguments=[{"id": id, "suffix": units}])
    return types.InlineCompletionItem(text + replaced, range=types.Range(span.start, end), command=accepted)


def popup_item(
    document: Document, position: types.Position, cursor: Cursor, text: str, id: str
) -> types.CompletionItem:
    """A suggestion as an entry of the completion popup, all lines in one item.

    The edit starts at the beginning of the word before the cursor, since some editors filter by that word and others by
    the replaced text. The text is inserted as is, since its indentation is already correct.
    """
    whole = item(document, types.Range(position, position), cursor, text, id)
    assert whole.range is not None
    word = _WORD.search(cursor.line)
    typed = word[0] if word else ""
    start = types.Position(position.line, position.character - document.position_codec.client_num_units(typed))
    new = typed + str(whole.insert_text)
    return types.CompletionItem(
        label=new.strip().split("\n", 1)[0],
        kind=types.CompletionItemKind.Text,
        detail="Starling",
        documentation=types.MarkupContent(types.MarkupKind.Markdown, f"```{document.language_id or ''}\n{new}\n```"),
        filter_text=new.split("\n", 1)[0],
        insert_text_format=types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AsIs,
        text_edit=types.TextEdit(types.Range(start, whole.range.end), new),
        command=whole.command,
    )


def replaces(text: str, rest: str) -> str:
    """The part of the line's `rest` that the suggestion replaces: all of it, or nothing.

    Multi-line ghost text cannot be shown in front of a rest, and closing brackets or blanks read better as part of the
    ghost text. The replaced rest is appended to the text, because a suggestion is inserted *before* it, and because VS
    Code hides a suggestion that would delete a character.
    """
    return rest if "\n" in text or _ONLY_CLOSERS.match(rest) else ""
