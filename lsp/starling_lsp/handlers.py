"""Handlers of the protocol's messages, one function per message."""

import logging
from hashlib import sha256
from typing import Any, cast

from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from starling_lsp import reply_items
from starling_lsp.answering.completer import connect
from starling_lsp.answering.link import Connect
from starling_lsp.options import SECTION
from starling_lsp.server import StarlingServer
from starling_lsp.wire.forms import CHECKSUM, HEALTH, MOVED, Json
from starling_server import __version__

log = logging.getLogger(__name__)
FILES = types.FileOperationRegistrationOptions([types.FileOperationFilter(types.FileOperationPattern("**"), "file")])
WATCHED = types.DidChangeWatchedFilesRegistrationOptions([types.FileSystemWatcher("**/*")])
SHOWN, PARTLY = "textDocument/didShowCompletion", "textDocument/didPartiallyAcceptCompletion"
"""Notifications of GitHub's language server, sent by clients written for it."""


def create_server(flags: dict[str, Any], connect: Connect = connect) -> StarlingServer:
    """A server with all handlers; `flags` are command-line options by name, `connect` creates the completer."""
    server = StarlingServer(flags, connect)
    server.feature(types.INITIALIZE)(initialize)
    server.feature(types.INITIALIZED)(initialized)
    server.feature(types.SHUTDOWN)(shutdown)
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(did_open)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(changed)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(changed)
    server.feature(types.TEXT_DOCUMENT_DID_SAVE)(did_save)
    server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)(did_change_watched_files)
    server.feature(types.WORKSPACE_DID_RENAME_FILES, FILES)(did_rename_files)
    server.feature(types.WORKSPACE_DID_DELETE_FILES, FILES)(did_delete_files)
    server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(did_change_configuration)
    server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(did_change_workspace_folders)
    # Without the options object pygls does not advertise the capability.
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())(inline_completion)
    server.command(reply_items.ACCEPTED)(accepted)
    server.feature(MOVED)(moved)
    server.feature(HEALTH)(health)
    server.feature(CHECKSUM)(checksum)
    server.feature(SHOWN)(shown)
    server.feature(PARTLY)(partly_accepted)
    return server


def initialize(server: StarlingServer, params: types.InitializeParams) -> None:
    """Read the client's options; the model is loaded later, by `initialized`."""
    server.open_workspace(params)
    server.editor_runs_as(params.process_id)
    if server.options.completion_items:  # now: capabilities are built from registered handlers
        server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions())(completion)


async def initialized(server: StarlingServer, params: types.InitializedParams) -> None:
    """Start loading the model; until it is loaded, replies are empty."""
    if server.link.opened:  # it may come again
        return
    await server.connect()
    workspace = server.client_capabilities.workspace
    wanted = list[types.Registration]()
    changes = workspace.did_change_configuration if workspace else None
    if changes and changes.dynamic_registration:
        method = types.WORKSPACE_DID_CHANGE_CONFIGURATION
        wanted.append(types.Registration("starling-configuration", method, {"section": SECTION}))
    watched = workspace.did_change_watched_files if workspace else None
    if watched and watched.dynamic_registration:
        wanted.append(types.Registration("starling-files", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, WATCHED))
    if wanted:
        await server.client_register_capability_async(types.RegistrationParams(wanted))


async def did_change_configuration(server: StarlingServer, params: types.DidChangeConfigurationParams) -> None:
    """Apply the settings section `starling`; request it if the editor supports `workspace/configuration`."""
    settings: Any = params.settings
    section = cast("dict[str, Any]", settings).get(SECTION) if isinstance(settings, dict) else None
    workspace = server.client_capabilities.workspace
    if section is None and workspace and workspace.configuration:
        asked = types.ConfigurationParams([types.ConfigurationItem(section=SECTION)])
        try:
            section = next(iter(await server.workspace_configuration_async(asked) or ()), None)
        except JsonRpcException:
            log.warning("the editor did not tell its settings: they stay as they are")
            return
    await server.configure(section)


def did_change_workspace_folders(server: StarlingServer, params: types.DidChangeWorkspaceFoldersParams) -> None:
    """Index the folders that there are now; the workspace tracks them itself."""
    server.folders_changed()


def did_save(server: StarlingServer, params: types.DidSaveTextDocumentParams) -> None:
    """Index the saved file again."""
    server.files_changed([params.text_document.uri])


def did_change_watched_files(server: StarlingServer, params: types.DidChangeWatchedFilesParams) -> None:
    """Index files again that were changed outside of the editor, as by a checkout."""
    server.files_changed(change.uri for change in params.changes)


def did_rename_files(server: StarlingServer, params: types.RenameFilesParams) -> None:
    """Index files and folders under their new names."""
    for file in params.files:
        server.file_renamed(file.old_uri, file.new_uri)


def did_delete_files(server: StarlingServer, params: types.DeleteFilesParams) -> None:
    """Forget what was deleted in the editor."""
    server.files_changed(file.uri for file in params.files)


async def inline_completion(server: StarlingServer, params: types.InlineCompletionParams) -> types.InlineCompletionList:
    """Reply to an inline completion request, cancelling the document's previous one."""
    with server.inflight.latest(params.text_document.uri):
        return types.InlineCompletionList(await server.suggest(params))


async def completion(server: StarlingServer, params: types.CompletionParams) -> types.CompletionList:
    """Reply to a popup request; the list is incomplete, since further typing may need another suggestion."""
    with server.inflight.latest("popup of " + params.text_document.uri):
        return types.CompletionList(is_incomplete=True, items=await server.popup(params))


def accepted(server: StarlingServer, *arguments: Any) -> None:
    """Record an acceptance; editors run this command when a suggestion is accepted."""
    argument = arguments[0] if arguments else None
    if not isinstance(argument, dict) or not isinstance(cast(Json, argument).get("id"), str):
        raise JsonRpcInvalidParams(f"{reply_items.ACCEPTED}: the argument is an item's own, with its id.")
    if server.statistics:
        server.statistics.accepted(cast(Json, argument)["id"])


def shown(server: StarlingServer, params: Any) -> None:
    """Record that a suggestion was shown."""
    if server.statistics:
        server.statistics.shown(_id(params))


def partly_accepted(server: StarlingServer, params: Any) -> None:
    """Record that the first `acceptedLength` UTF-16 units of a suggestion were accepted."""
    length = cast(Json, params).get("acceptedLength", 0) if isinstance(params, dict) else 0
    if server.statistics and isinstance(length, int):
        server.statistics.partly(_id(params), length)


def changed(
    server: StarlingServer, params: types.DidChangeTextDocumentParams | types.DidCloseTextDocumentParams
) -> None:
    """Update statistics after a document was edited or closed; the workspace is already up to date."""
    if server.statistics:
        server.statistics.changed(params.text_document.uri)


def health(server: StarlingServer, params: Any) -> dict[str, Any]:
    """Server state for an editor's health check."""
    completer, asking = server.link.completer, server.asking
    return {
        "version": __version__,
        "device": completer.device if completer else "nothing yet",
        "base": server.status.base,
        "adapter": server.status.adapter,
        "answers": asking.answers,
        "remembered": asking.remembered,
        "last_ms": asking.last_ms,
        "generations": completer.generations if completer else None,
        "files": server.others.files,
        "context": [{"path": piece.path, "why": piece.why} for piece in server.others.last],
    }


def checksum(server: StarlingServer, params: types.TextDocumentIdentifier) -> str | None:
    """SHA-256 in hexadecimal of the server's copy of a document, for a sync check; None if not open or out of step."""
    text = server.documents.text_of(params.uri)
    return None if text is None else sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


async def moved(server: StarlingServer, params: types.TextDocumentPositionParams) -> None:
    """Prefill the prompt at a cursor at rest outside insert mode; a custom notification, since LSP has none."""
    await server.read_ahead(params.text_document.uri, params.position)


def did_open(server: StarlingServer, params: types.DidOpenTextDocumentParams) -> None:
    """Do nothing; registered so that open and close are advertised. The workspace stores the text itself."""


async def shutdown(server: StarlingServer, params: None) -> None:
    """Release the model and write the remaining statistics."""
    await server.release()


def _id(params: Any) -> str | None:
    """The id in the command of the notification's item; the other fields contain code and are not read."""
    try:
        return str(params["item"]["command"]["arguments"][0]["id"])
    except (IndexError, KeyError, TypeError):
        return None
