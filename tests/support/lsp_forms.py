"""Messages of the language server's protocol in wrong forms, and what a document may hold after each."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from lsprotocol import types
from support.wire import Json, Wire

from starling_lsp.wire import forms

URI, CELL, NOTEBOOK = "file:///work/a.py", "vscode-notebook-cell:/work/a.ipynb#a", "file:///work/a.ipynb"
TEXT = "def add(a, b):\n    return a + b  # 😀 中\n\nadd(1, 2)\n"
NOWHERE = ("--server", "http://127.0.0.1:9")
"""A server that is not there: the conversation needs none."""
WRONG: list[Any] = [None, True, 0, -1, 1.5, 2**31, 2**63, 9223372036854776000, "text", "", [], [None], {}, {"a": 1}]
HUGE = 2**31 - 1
POPUPS = ("window/showMessage", "window/showMessageRequest", "window/logMessage")


def span(*numbers: int) -> Json:
    start, end = ({"line": line, "character": character} for line, character in (numbers[:2], numbers[2:]))
    return {"start": start, "end": end}


AT = {"textDocument": {"uri": URI}, "position": {"line": 1, "character": 11}}
CHANGES = [{"range": span(0, 4, 0, 7), "rangeLength": 3, "text": "sum"}, {"range": span(3, 0, 3, 3), "text": "sum"}]
ITEM = {"insertText": "a", "command": {"title": "", "command": "starling.accepted", "arguments": [{"id": "1"}]}}
PLACE = {"kind": 2, "document": CELL, "metadata": {}, "executionSummary": {"executionOrder": 1, "success": True}}
OPENED = {"uri": CELL, "languageId": "python", "version": 1, "text": TEXT}
CELLS = {
    "structure": {"array": {"start": 1, "deleteCount": 0, "cells": [PLACE]}, "didOpen": [], "didClose": []},
    "data": [PLACE],
    "textContent": [{"document": {"uri": CELL, "version": 2}, "changes": CHANGES}],
}
CONTEXT = {"triggerKind": 2, "selectedCompletionInfo": {"range": span(1, 4, 1, 11), "text": "return "}}
REQUESTS: dict[str, Any] = {
    types.TEXT_DOCUMENT_INLINE_COMPLETION: {**AT, "context": CONTEXT, "workDoneToken": 1},
    types.TEXT_DOCUMENT_COMPLETION: {**AT, "context": {"triggerKind": 1, "triggerCharacter": "."}},
    types.WORKSPACE_EXECUTE_COMMAND: {"command": "starling.accepted", "arguments": [{"id": "1", "suffix": 0}]},
    forms.HEALTH: {},
    forms.CHECKSUM: {"uri": URI},
}
SYNC: dict[str, Any] = {
    types.TEXT_DOCUMENT_DID_OPEN: {"textDocument": {**OPENED, "uri": URI}},
    types.TEXT_DOCUMENT_DID_CHANGE: {"textDocument": {"uri": URI, "version": 2}, "contentChanges": CHANGES},
    types.TEXT_DOCUMENT_DID_CLOSE: {"textDocument": {"uri": URI}},
    types.NOTEBOOK_DOCUMENT_DID_OPEN: {
        "notebookDocument": {
            "uri": NOTEBOOK,
            "notebookType": "jupyter-notebook",
            "version": 1,
            "metadata": {},
            "cells": [{**PLACE, "kind": 2}],
        },
        "cellTextDocuments": [OPENED],
    },
    types.NOTEBOOK_DOCUMENT_DID_CHANGE: {
        "notebookDocument": {"uri": NOTEBOOK, "version": 2},
        "change": {"metadata": {"a": 1}, "cells": CELLS},
    },
    types.NOTEBOOK_DOCUMENT_DID_CLOSE: {"notebookDocument": {"uri": NOTEBOOK}, "cellTextDocuments": [{"uri": CELL}]},
}
NOTIFICATIONS: dict[str, Any] = {
    types.INITIALIZED: {},
    types.WORKSPACE_DID_CHANGE_CONFIGURATION: {
        "settings": {"starling": {"triggerMode": "auto", "enable": {"*": True}}}
    },
    types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS: {
        "event": {"added": [{"uri": "file:///work", "name": "work"}], "removed": [{"uri": "file:///b", "name": "b"}]}
    },
    types.TEXT_DOCUMENT_DID_SAVE: {"textDocument": {"uri": URI}, "text": TEXT},
    types.WORKSPACE_DID_CHANGE_WATCHED_FILES: {"changes": [{"uri": URI, "type": 2}]},
    types.WORKSPACE_DID_RENAME_FILES: {"files": [{"oldUri": URI, "newUri": "file:///work/b.py"}]},
    types.WORKSPACE_DID_DELETE_FILES: {"files": [{"uri": URI}]},
    types.WINDOW_WORK_DONE_PROGRESS_CANCEL: {"token": "starling-loading"},
    types.CANCEL_REQUEST: {"id": 1},
    types.SET_TRACE: {"value": "off"},
    forms.MOVED: AT,
    "textDocument/didShowCompletion": {"item": ITEM},
    "textDocument/didPartiallyAcceptCompletion": {"item": ITEM, "acceptedLength": 3},
}
LIFECYCLE = {types.INITIALIZE, types.SHUTDOWN, types.EXIT}
INITIALIZE: Json = {
    "processId": None,
    "clientInfo": {"name": "forms", "version": "1"},
    "locale": "en",
    "rootPath": "/work",
    "rootUri": "file:///work",
    "trace": "off",
    "workspaceFolders": [{"uri": "file:///work", "name": "work"}],
    "initializationOptions": {"completionItems": True},
    "workDoneToken": 1,
    "capabilities": {
        "workspace": {
            "configuration": True,
            "didChangeConfiguration": {"dynamicRegistration": True},
            "didChangeWatchedFiles": {"dynamicRegistration": True},
        },
        "textDocument": {"inlineCompletion": {}, "completion": {"completionItemKind": {"valueSet": [1, 2]}}},
        "notebookDocument": {"synchronization": {"dynamicRegistration": True}},
        "window": {"workDoneProgress": True},
        "general": {"positionEncodings": ["utf-16"]},
        "experimental": {},
    },
}
Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Form:
    """A wrong form of a message's params; `sent` is what takes their place."""

    method: str
    path: Path_
    sent: Any
    """Without `params` for none at all."""

    def message(self) -> Json:
        return {"jsonrpc": "2.0", "method": self.method, **self.sent}


def paths(value: Any, at: Path_ = ()) -> Iterator[Path_]:
    """The value itself and everything in it."""
    yield at
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from paths(member, (*at, key))


def replaced(value: Any, path: Path_, new: Any) -> Any:
    """A copy with another value at the path; without it where `new` is `...`."""
    if not path:
        return new
    changed = copy.copy(value)
    if new is ... and len(path) == 1:
        del changed[path[0]]
    else:
        changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


def wrong_forms(method: str, params: Any) -> Iterator[Form]:
    """Every member left out, and replaced by each wrong value."""
    yield Form(method, (), {})
    for path in paths(params):
        if path:
            yield Form(method, path, {"params": replaced(params, path, ...)})
        for wrong in WRONG:
            yield Form(method, path, {"params": replaced(params, path, wrong)})


def digest(text: str | None) -> str | None:
    return None if text is None else sha256(text.encode()).hexdigest()


def is_count(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and value == int(value) and value >= 0


def at(text: str, position: Any) -> int | None:
    """Offset of a position in UTF-16 units; None if it is no position."""
    try:
        line, character = position["line"], position["character"]
    except (KeyError, TypeError):
        return None
    if not (is_count(line) and is_count(character)):
        return None
    lines = text.split("\n")
    if line >= len(lines):
        return len(text)
    before = sum(len(each) + 1 for each in lines[: int(line)])
    units = lines[int(line)].encode("utf-16-le")[: 2 * int(min(character, HUGE))]
    return before + len(units.decode("utf-16-le", "ignore"))


def edited(text: str, changes: Any) -> str | None:
    """The text after an editor's changes as the protocol means them; None where that cannot be said."""
    if not isinstance(changes, list):
        return None
    now: str | None = text
    for change in changes:
        now = _edited(now, change)
    return now


def _edited(text: str | None, change: Any) -> str | None:
    if not isinstance(change, dict) or not isinstance(change.get("text"), str):
        return None
    if change.get("range") is None:
        return change["text"]
    span, length = change["range"], change.get("rangeLength", 0)
    if text is None or not isinstance(span, dict) or (length is not None and not is_count(length)):
        return None
    ends = at(text, span.get("start")), at(text, span.get("end"))
    if ends[0] is None or ends[1] is None or (length or 0) > HUGE:
        return None
    return text[: min(ends)] + change["text"] + text[max(ends) :]  # pyright: ignore[reportArgumentType]


def get(value: Any, *path: str | int) -> Any:
    """The member at a path, None where there is none."""
    try:
        for key in path:
            value = value[key]
    except (IndexError, KeyError, TypeError):
        return None
    return value


def held(form: Form) -> set[str | None]:
    """What the server may hold after a form: the editor's text, or None where it has to say that it does not know."""
    params = form.sent.get("params")
    if form.method == types.TEXT_DOCUMENT_DID_OPEN:
        uri, text = get(params, "textDocument", "uri"), get(params, "textDocument", "text")
        return {(text if isinstance(text, str) else None) if uri == URI else TEXT}
    if form.method == types.TEXT_DOCUMENT_DID_CHANGE:
        uri = get(params, "textDocument", "uri")
        known = edited(TEXT, get(params, "contentChanges"))
        return {TEXT if isinstance(uri, str) and uri != URI else known if uri == URI else None}
    if form.method == types.TEXT_DOCUMENT_DID_CLOSE:
        return {None if get(params, "textDocument", "uri") == URI else TEXT}
    if form.method == types.NOTEBOOK_DOCUMENT_DID_CHANGE:
        return _cell_after(params)
    text = get(params, "cellTextDocuments", 0, "text")
    return {None, TEXT, text if isinstance(text, str) else None}


def _cell_after(params: Any) -> set[str | None]:
    """A change of a notebook that cannot be read in part may be refused as a whole, which has to be said."""
    content = get(params, "change", "cells", "textContent")
    uri = get(content, 0, "document", "uri")
    after = edited(TEXT, get(content, 0, "changes"))
    other = get(params, "notebookDocument", "uri")
    if isinstance(other, str) and other != NOTEBOOK and uri == CELL:
        return {None, after, TEXT}
    return {None, after if uri == CELL else TEXT}


def open_all(talking: Wire) -> None:
    talking.notify(types.TEXT_DOCUMENT_DID_OPEN, SYNC[types.TEXT_DOCUMENT_DID_OPEN])
    talking.notify(types.NOTEBOOK_DOCUMENT_DID_OPEN, SYNC[types.NOTEBOOK_DOCUMENT_DID_OPEN])
