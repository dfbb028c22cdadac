"""The language server: thin handlers over documents, a completer and the reply contract.

The contract: a superseded or cancelled request is answered with error -32800; nothing to
suggest is an empty list, never null; trouble goes to the status and the log, never into a reply.
"""

import asyncio
import logging
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from starling_lsp import convert, options
from starling_lsp.completer import Completer, connect
from starling_lsp.debounce import Debounce
from starling_lsp.documents import Cursor, Document, Documents
from starling_lsp.inflight import Inflight
from starling_server import __version__
from starling_server.errors import StarlingError
from starling_server.schema import CompleteRequest

log = logging.getLogger(__name__)
STATUS, MOVED = "starling/status", "starling/didMoveCursor"
LOADING = "starling-loading"
TOLD = ("textDocument/didShowCompletion", "textDocument/didPartiallyAcceptCompletion")
"""Notifications as GitHub's language server names them; clients written for it send them."""
RETRY_SECONDS = 5.0
Kind = Literal["loading", "ready", "busy", "error", "inactive"]


class StarlingServer(LanguageServer):
    """One editor's server."""

    def __init__(self, flags: dict[str, Any]) -> None:
        super().__init__("starling-lsp", __version__)
        self.flags = flags
        self.options = options.Options()
        self.completer: Completer | None = None
        self.debounce = Debounce("")
        self.inflight = Inflight()
        self._told: tuple[Kind, str] | None = None
        self._connecting: asyncio.Task[None] | None = None

    @property
    def documents(self) -> Documents:
        """The open documents."""
        assert isinstance(self.workspace, Documents)
        return self.workspace

    def open_workspace(self, params: types.InitializeParams) -> None:
        """Take over from pygls' own workspace, and read what the client says of itself."""
        theirs = self.workspace
        self.protocol._workspace = Documents(  # pyright: ignore[reportPrivateUsage] - there is no public way
            params.root_uri,
            types.TextDocumentSyncKind.Incremental,
            params.workspace_folders or [],
            theirs.position_encoding,
        )
        self.options = options.read(params.initialization_options, self.flags)
        client = params.client_info.name if params.client_info else ""
        self.debounce = Debounce(client, self.options.debounce)

    @property
    def root(self) -> Path | None:
        """The first workspace folder on this disk."""
        folders = [folder.uri for folder in self.workspace.folders.values()]
        uri = folders[0] if folders else self.workspace.root_uri
        path = to_fs_path(uri) if uri else None
        return Path(path) if path else None

    def tell(self, kind: Kind, message: str = "") -> None:
        """Tell the editor's status line, where something changed."""
        if (kind, message) == self._told:
            return
        self._told = (kind, message)
        base, adapter = (self.completer.base, self.completer.adapter) if self.completer else (None, None)
        self.protocol.notify(STATUS, {"kind": kind, "message": message, "base": base, "adapter": adapter})

    def connect(self) -> None:
        """Load the model or find the server, in the background; once at a time."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        self.tell("loading", f"Connecting to {self.options.server}" if self.options.server else "Loading the model")
        progress = await self._begin_progress()
        message = ""
        try:
            self.completer = await connect(self.options, self.root)
        except StarlingError as error:
            message = str(error)
        except Exception:  # whatever it was, the editor must learn that there will be no suggestions
            log.exception("the model could not be loaded")
            message = "The model could not be loaded: see the language server's log."
        if progress:
            self.work_done_progress.end(LOADING, types.WorkDoneProgressEnd())
        if message:
            log.error(message)
            self.tell("error", message)
        elif self.completer:
            self.tell("ready", f"{self.completer.base} with {self.completer.adapter or 'no adapter'}")

    async def _begin_progress(self) -> bool:
        window = self.client_capabilities.window
        if not (window and window.work_done_progress):
            return False
        if LOADING not in self.work_done_progress.tokens:
            await self.work_done_progress.create_async(LOADING)
        self.work_done_progress.begin(LOADING, types.WorkDoneProgressBegin("Starling: loading the model"))
        return True

    async def suggest(self, params: types.InlineCompletionParams) -> list[types.InlineCompletionItem]:
        """The items for a position; raises CancelledError where a newer request took over."""
        document = self.documents.find(params.text_document.uri)
        if document is None:
            return []
        if not document.is_code:
            self.tell("inactive", "This document is too large or not text.")
            return []
        if self.completer is None:
            self._retry()
            return []
        span, cursor, chosen = _place(document, params)
        request = self._request(document, Cursor(cursor.prefix + chosen, cursor.suffix), self.options.max_tokens)
        typed = params.context.trigger_kind == types.InlineCompletionTriggerKind.Automatic
        text, id = await self._ask(self.completer, request, typed)
        if not text:
            return []
        return [convert.item(document, span, cursor, chosen + text, id)]

    async def read_ahead(self, uri: str, position: types.Position) -> None:
        """Have the prompt of a place read at lowest priority, so that its first suggestion comes sooner."""
        document = self.documents.find(uri)
        if self.completer is None or document is None or not document.is_code or not self.options.warm:
            return
        try:
            await self.completer.complete(self._request(document, document.cursor(position), 0))
        except StarlingError as error:
            log.info("nothing was read ahead: %s", error)

    def _request(self, document: Document, cursor: Cursor, max_tokens: int) -> CompleteRequest:
        return CompleteRequest(
            prefix=cursor.prefix,
            suffix=cursor.suffix,
            path=document.path,
            language=document.language_id,
            session=document.uri,
            max_tokens=max_tokens,
            mode=self.options.mode,
        )

    async def _ask(self, completer: Completer, request: CompleteRequest, typed: bool) -> tuple[str, str]:
        """The text to insert and the answer's id; trouble is told, and nothing is suggested."""
        if typed and not completer.remembers(request):
            self.debounce.key()
            await asyncio.sleep(self.debounce.seconds)
        self.tell("busy")
        started = perf_counter()
        try:
            response = await completer.complete(request)
        except StarlingError as error:
            log.warning("%s", error)
            self.tell("error", str(error))
            return "", ""
        except Exception:
            log.exception("a completion failed")
            self.tell("error", "A suggestion failed: see the language server's log.")
            return "", ""
        self.tell("ready")
        choice = response.choices[0]
        if choice.finish_reason in ("superseded", "cancelled"):
            raise asyncio.CancelledError
        if response.usage.prompt_tokens:
            self.debounce.answered((perf_counter() - started) * 1e3)
        return choice.text, response.id

    def _retry(self) -> None:
        """A server that was not there may be by now; a model that could not be loaded will not."""
        if self.options.server:
            self.connect()


def _place(document: Document, params: types.InlineCompletionParams) -> tuple[types.Range, Cursor, str]:
    """What an item takes the place of, the text around that, and what the editor's popup would put there first."""
    info = params.context.selected_completion_info
    if info is None:
        at = document.position(document.offset(params.position))
        return types.Range(at, at), document.cursor(at), ""
    before, after = document.cursor(info.range.start), document.cursor(info.range.end)
    return info.range, Cursor(before.prefix, after.suffix), info.text


def create_server(flags: dict[str, Any]) -> StarlingServer:
    """A server with all its handlers; `flags` are the command line's options by name."""
    server = StarlingServer(flags)
    server.feature(types.INITIALIZE)(initialize)
    server.feature(types.INITIALIZED)(initialized)
    server.feature(types.SHUTDOWN)(shutdown)
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(did_open)
    # Without the options object pygls does not advertise the capability.
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())(inline_completion)
    server.command(convert.ACCEPTED)(accepted)
    server.feature(MOVED)(moved)
    for told in TOLD:
        server.feature(told)(noted)
    return server


def initialize(server: StarlingServer, params: types.InitializeParams) -> None:
    """Read the client's options; the model is not touched before `initialized`."""
    server.open_workspace(params)


async def initialized(server: StarlingServer, params: types.InitializedParams) -> None:
    """Start loading; requests are answered with nothing until it is done."""
    server.connect()


async def inline_completion(server: StarlingServer, params: types.InlineCompletionParams) -> types.InlineCompletionList:
    """Answer one request, the newest of its document."""
    with server.inflight.latest(params.text_document.uri):
        return types.InlineCompletionList(await server.suggest(params))


def accepted(server: StarlingServer, argument: dict[str, Any]) -> None:
    """The command that editors run on acceptance."""
    log.debug("accepted %s", argument.get("id"))


async def moved(server: StarlingServer, params: Any) -> None:
    """The cursor rests somewhere, outside insert mode; editors may tell, as LSP has no word for it."""
    try:
        uri, at = str(params.textDocument.uri), params.position
        position = types.Position(int(at.line), int(at.character))
    except (AttributeError, TypeError, ValueError):
        log.warning("%s came without a document or a position", MOVED)
        return
    await server.read_ahead(uri, position)


def noted(server: StarlingServer, params: Any) -> None:
    """What the person did with a suggestion; its parameters hold code, so the log has only that it came."""
    log.debug("a suggestion was shown or partly accepted")


def did_open(server: StarlingServer, params: types.DidOpenTextDocumentParams) -> None:
    """Registered so that open and close are advertised; the workspace keeps the text."""


async def shutdown(server: StarlingServer, params: None) -> None:
    """Let go of the model."""
    if server.completer is not None:
        await server.completer.close()
