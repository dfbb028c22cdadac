"""Between the protocol's items and suggestions: what a suggestion replaces, and what goes with it."""

import re

from lsprotocol import types

from starling_lsp.documents import Cursor, Document

ACCEPTED = "starling.accepted"
_WORD = re.compile(r"\w+\Z")
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


def popup_item(
    document: Document, position: types.Position, cursor: Cursor, text: str, id: str
) -> types.CompletionItem:
    """The same as an entry of the completion popup, all its lines in one item.

    It begins at the start of the word before the cursor, since some editors filter by that word and others by what the
    edit replaces; inserted as it is, since its indentation is right already.
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
    """What of the line's `rest` the suggestion takes along to its end: all of it, or nothing.

    Several lines cannot be shown in front of a rest, and closers or blanks read better as part of what is shown.
    It is repeated behind the text, because a suggestion is what goes in *before* it, and because VS Code hides
    whatever would delete a character.
    """
    return rest if "\n" in text or _ONLY_CLOSERS.match(rest) else ""
