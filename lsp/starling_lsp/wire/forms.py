"""The form of messages: what is mended before they become objects, and what is refused.

Editors leave out what the protocol requires, or send null for it. A form that can only mean one thing is mended, since
an edit that is dropped leaves a copy of the document that nobody's screen shows. Everything else is refused, with a
sentence that names the field.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_origin

from cattrs import Converter, transform_error
from lsprotocol import types
from pygls.protocol import default_converter
from pygls.uris import from_fs_path, to_fs_path

Json = dict[str, Any]
LARGEST = 2**31 - 1
"""Of the protocol's integers; a larger position is the end of its line or of the document all the same."""
MOVED, HEALTH, CHECKSUM = "starling/didMoveCursor", "starling/health", "starling/checksum"
MOST_FAULTS = 3
"""Named in a refusal."""
_PARTS = ("workspace", "textDocument", "notebookDocument", "window", "general", "experimental")
"""Of the client's capabilities."""


@dataclass
class Moved:
    """A cursor at rest outside insert mode."""

    params: types.TextDocumentPositionParams
    method: str
    jsonrpc: str = "2.0"


@dataclass
class Health:
    """A request for the server's state."""

    id: int | str
    method: str
    params: Any = None
    jsonrpc: str = "2.0"


@dataclass
class Checksum:
    """A request for the checksum of the server's copy of a document."""

    id: int | str
    params: types.TextDocumentIdentifier
    method: str
    jsonrpc: str = "2.0"


@dataclass
class Notification:
    """Any other notification; `params` is JSON."""

    method: str
    params: Any = None
    jsonrpc: str = "2.0"


OWN: dict[str, type] = {MOVED: Moved, HEALTH: Health, CHECKSUM: Checksum}


def form_of(method: str) -> type:
    """The class of a method's messages."""
    return OWN.get(method) or types.METHOD_TO_TYPES.get(method, (Notification,))[0] or Notification


def is_request(method: str) -> bool:
    """Whether the protocol has an answer to this method."""
    return "id" in form_of(method).__annotations__


def converter() -> Converter:
    """lsprotocol's converter made strict: by default null becomes the text "None", and "" an empty list or object."""
    strict = default_converter()
    strict.register_structure_hook(str, _text)
    strict.register_structure_hook(int, _whole)
    strict.register_structure_hook(bool, _truth)
    _only(strict, list, lambda form: get_origin(form) is Sequence)
    _only(strict, dict, lambda form: hasattr(form, "__attrs_attrs__"))
    return strict


def _only(reader: Converter, kind: type, concerns: Callable[[Any], bool]) -> None:
    """Accept only JSON of one kind for the forms that this concerns, and read it as before."""
    under_way = set[Any]()

    def strict(form: Any) -> Callable[[Any, Any], Any]:
        under_way.add(form)
        read = reader.get_structure_hook(form, cache_result=False)
        under_way.remove(form)

        def checked(value: Any, form: Any) -> Any:
            if not isinstance(value, kind):
                raise TypeError(f"not a {kind.__name__}")
            return read(value, form)

        return checked

    reader.register_structure_hook_factory(lambda form: form not in under_way and concerns(form), strict)


def _text(value: Any, form: type[str]) -> str:
    """A string, or a member of an enumeration of strings."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return form(value)


def _whole(value: Any, form: type[int]) -> int:
    """A whole number, or a member of an enumeration of such; some editors write every number with a decimal point."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError("not a whole number")
    return form(int(value))


def _truth(value: Any, _: type) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not true or false")
    return value


def faults(error: Exception) -> str:
    """What is wrong with a message's fields, without their values, which may be code."""
    found = transform_error(error, "") or [type(error).__name__]
    named = [re.sub(r"_(\w)", lambda letter: letter[1].upper(), each.replace("@ .", "at ")) for each in found]
    return "; ".join(named[:MOST_FAULTS])


def mended(method: str, params: Any, reader: Converter) -> Any:
    """`params` with what can only mean one thing put right; changed in place where it is an object."""
    _clamp(params)
    if method in (types.SHUTDOWN, types.EXIT):
        return None
    if method == types.INITIALIZED:
        return {}
    mend = _MEND.get(method)
    return mend(params, reader) if mend and isinstance(params, dict) else params


def _clamp(value: Any) -> None:
    """Clamp the lines and columns of all positions to `LARGEST`."""
    if isinstance(value, dict):
        members = cast(Json, value)
        for name, member in members.items():
            if name in ("line", "character") and isinstance(member, int | float) and member > LARGEST:
                members[name] = LARGEST
            else:
                _clamp(member)
    elif isinstance(value, list):
        for member in cast(list[Any], value):
            _clamp(member)


def _initialize(params: Json, reader: Converter) -> Json:
    """Leave out optional fields of a wrong form: a capability that is unknown here is no reason to refuse an editor."""
    given = params.get("capabilities")
    if not isinstance(given, dict):
        return params
    capabilities = cast(Json, given)
    parts = {name: capabilities[name] for name in _PARTS if name in capabilities}
    parts = {name: part for name, part in parts.items() if _fits(reader, types.ClientCapabilities, {name: part})}
    params["workspaceFolders"] = _named(params.get("workspaceFolders"))
    fit: Json = {"capabilities": parts}
    for name, value in params.items():
        if name != "capabilities" and _fits(reader, types.InitializeParams, {"capabilities": {}, name: value}):
            fit[name] = value
    for name, read in (("rootUri", to_fs_path), ("rootPath", from_fs_path)):
        if not _readable(read, fit.get(name)):
            del fit[name]
    return fit


def _fits(reader: Converter, form: type, value: Json) -> bool:
    try:
        reader.structure(value, form)
    except Exception:
        return False
    return True


def _readable(read: Callable[[str], str | None], value: Any) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True


def _folders(params: Json, _: Converter) -> Json:
    event = params.get("event")
    if isinstance(event, dict):
        members = cast(Json, event)
        members.update({name: _named(members.get(name)) for name in ("added", "removed")})
    return params


def _named(folders: Any) -> list[Json]:
    """The folders that have a URI; their names are of no use here."""
    return [{"uri": folder["uri"], "name": ""} for folder in _objects(folders) if isinstance(folder.get("uri"), str)]


def _opened(params: Json, _: Converter) -> Json:
    for item in _objects([params.get("textDocument"), params.get("notebookDocument")]):
        _item(item)
    for item in _objects(params.get("cellTextDocuments")):
        _item(item)
    return params


def _item(document: Json) -> None:
    _version(document)
    if "text" in document and not isinstance(document.get("languageId"), str):
        document["languageId"] = ""


def _changed(params: Json, _: Converter) -> Json:
    for document in _objects([params.get("textDocument")]):
        _version(document)
    params["contentChanges"] = _last_whole(params.get("contentChanges"))
    return params


def _notebook_changed(params: Json, _: Converter) -> Json:
    for notebook in _objects([params.get("notebookDocument")]):
        _version(notebook)
    for change in _objects([params.get("change")]):
        for cells in _objects([change.get("cells")]):
            for content in _objects(cells.get("textContent")):
                for document in _objects([content.get("document")]):
                    _version(document)
                content["changes"] = _last_whole(content.get("changes"))
            for structure in _objects([cells.get("structure")]):
                for item in _objects(structure.get("didOpen")):
                    _item(item)
    return params


def _version(document: Json) -> None:
    """Nothing here depends on a version; a wrong one is no reason to drop an edit."""
    version = document.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or abs(version) > LARGEST:
        document["version"] = 0


def _last_whole(changes: Any) -> Any:
    """The changes from the last one of the whole text on, which overwrites those before it; a null range is none."""
    if not isinstance(changes, list):
        return None
    listed, first = cast(list[Any], changes), 0
    for number, change in enumerate(listed):
        if isinstance(change, dict) and change.get("range", 0) is None:
            del change["range"]
        if isinstance(change, dict) and "range" not in change and isinstance(change.get("text"), str):
            first = number
    return listed[first:]


def _objects(values: Any) -> list[Json]:
    """Those of a list that are objects; none if it is no list."""
    listed = cast(list[Any], values) if isinstance(values, list) else []
    return [value for value in listed if isinstance(value, dict)]


_MEND: dict[str, Callable[[Json, Converter], Json]] = {
    types.INITIALIZE: _initialize,
    types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS: _folders,
    types.TEXT_DOCUMENT_DID_OPEN: _opened,
    types.NOTEBOOK_DOCUMENT_DID_OPEN: _opened,
    types.TEXT_DOCUMENT_DID_CHANGE: _changed,
    types.NOTEBOOK_DOCUMENT_DID_CHANGE: _notebook_changed,
}
