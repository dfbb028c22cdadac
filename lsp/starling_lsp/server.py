"""The language server: state and reply contract behind the handlers.

Contract: a superseded or cancelled request gets error -32800; without a suggestion the reply is an empty list, never
null; errors are reported in the status and the log, never in a reply.
"""

import asyncio
import logging
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from lsprotocol import types
from pygls.io_ import StdoutWriter
from pygls.lsp.server import LanguageServer

from starling_lsp import editor_process, options, reply_items
from starling_lsp.answering.completer import Completer
from starling_lsp.answering.link import Connect, Link
from starling_lsp.asking import Asking, Debounce, Inflight
from starling_lsp.documents import Cursor, Document, Documents, path_at
from starling_lsp.eligible import OUT_OF_STEP, why_not
from starling_lsp.other_files import OtherFiles, Where
from starling_lsp.progress import Progress
from starling_lsp.statistics.followed import follow
from starling_lsp.statistics.journal import Journal
from starling_lsp.statistics.tracker import Statistics
from starling_lsp.status import Status
from starling_lsp.wire import forms, frames
from starling_lsp.wire.protocol import Protocol
from starling_server import __version__
from starling_server.errors import StarlingError
from starling_server.schema import CompleteRequest, CompleteResponse

log = logging.getLogger(__name__)
REST_SECONDS = 1.0
"""Time without a request after which the cursor rests."""
RELEASE_SECONDS = 5.0
"""Timeout of the release of the model after the editor's end."""
OPENING = (types.TEXT_DOCUMENT_DID_OPEN, types.NOTEBOOK_DOCUMENT_DID_OPEN)
CHANGING = (types.TEXT_DOCUMENT_DID_CHANGE, types.NOTEBOOK_DOCUMENT_DID_CHANGE)
SYNC = (*OPENING, *CHANGING)
LONGEST_SESSION = 1024
"""Longer URIs are hashed for the model's server, which refuses long session names."""
_LONE = re.compile("[\ud800-\udfff]")
_STRING = re.compile(r'"([^"\\]*)"')
CELLS = types.NotebookDocumentSyncOptions([types.NotebookDocumentFilterWithNotebook("*")])


class StarlingServer(LanguageServer):
    """The server of one editor."""

    def __init__(self, flags: dict[str, Any], connect: Connect) -> None:
        super().__init__(
            "starling-lsp",
            __version__,
            notebook_document_sync=CELLS,
            protocol_cls=Protocol,
            converter_factory=forms.converter,
        )
        self._protocol().refused = self._refused
        self.flags = flags
        self.options = options.Options()
        self.status = Status(self.protocol.notify)
        self._connect, progress = connect, Progress(self)
        self.link = Link(self.status, progress.loading, self._connected)
        self.asking = Asking(self.link, self.status, Debounce(""))
        self.inflight = Inflight()
        self.others = OtherFiles(progress.indexing)
        self._rest: asyncio.TimerHandle | None = None
        self._resting: asyncio.Task[None] | None = None
        self.statistics: Statistics | None = None
        """None unless enabled."""
        self._client = ""
        self._given: dict[str, Any] = {}

    def start_io(self, stdin: BinaryIO | None = None, stdout: BinaryIO | None = None) -> None:
        """Serve one editor until the streams end or it sends `exit`, which ends the process."""
        protocol = self._protocol()
        protocol.set_writer(StdoutWriter(stdout or sys.stdout.buffer))
        try:
            asyncio.run(frames.each(stdin or sys.stdin.buffer, self.thread_pool, protocol.receive))
        except BrokenPipeError:
            log.warning("the editor closed the connection; the language server ends")
        except KeyboardInterrupt:
            pass
        finally:
            self.shutdown()

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Report an error in the log; pygls would show it in a popup."""
        log.error("a message could not be handled", exc_info=error)

    def _protocol(self) -> Protocol:
        assert isinstance(self.protocol, Protocol)
        return self.protocol

    def _refused(self, method: str | None, content: Any) -> None:
        """Declare the documents out of step that a message was about, if it was an edit that could not be read."""
        if not self.is_open:
            return
        if method is None:
            lost = self._lose_named_in(str(content).replace("\\/", "/"))
        elif method in SYNC:
            lost = self._lose(method, content)
        else:
            return
        if lost:
            self.status.tell("inactive", OUT_OF_STEP)

    def _lose(self, method: str, params: Any) -> bool:
        uri = _uri(params)
        if uri is None:
            return method in CHANGING and self.documents.lose(None)
        if method == types.TEXT_DOCUMENT_DID_OPEN:
            self.documents.put_text_document(types.TextDocumentItem(uri, "", 0, ""))
        return self.documents.lose([uri])

    def _lose_named_in(self, body: str) -> bool:
        if not any(method in body for method in SYNC):
            return False
        named = set(_STRING.findall(body))
        return self.documents.lose(named) or (any(method in body for method in CHANGING) and self.documents.lose(None))

    def editor_runs_as(self, process: int | None) -> None:
        """End when the editor's process does."""
        if process is not None:
            editor_process.watch(process, self._editor_ended)

    def _editor_ended(self) -> None:
        log.warning("the editor's process has ended")
        self._ending = asyncio.create_task(self._end())

    async def _end(self) -> None:
        """Release everything and exit; the thread that waits for input holds up any other end."""
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self.release()
        except Exception:  # the process ends all the same
            log.warning("the model was not released in order", exc_info=True)
        logging.shutdown()
        os._exit(1)

    async def release(self) -> None:
        """Release the model and write the remaining statistics."""
        if self.statistics:
            await self.statistics.close()
        if self._rest:
            self._rest.cancel()
        self.others.close()
        await self.link.close()

    @property
    def is_open(self) -> bool:
        """Whether the editor has initialized the server."""
        return self.protocol._workspace is not None  # pyright: ignore[reportPrivateUsage] - no public API

    @property
    def documents(self) -> Documents:
        """The open documents."""
        assert isinstance(self.workspace, Documents)
        return self.workspace

    def open_workspace(self, params: types.InitializeParams) -> None:
        """Replace pygls' workspace and read the client's name and initialization options."""
        theirs = self.workspace
        self.protocol._workspace = Documents(  # pyright: ignore[reportPrivateUsage] - no public API
            theirs.root_uri,
            types.TextDocumentSyncKind.Incremental,
            params.workspace_folders or [],
            theirs.position_encoding,
        )
        given = params.initialization_options
        self._client = params.client_info.name if params.client_info else ""
        self._given = given if isinstance(given, dict) else {}
        self.documents.only_feeds = self._client.lower() == "neovim"
        self._take(options.read(given, self.flags))

    def _take(self, chosen: options.Options) -> None:
        self.options = chosen
        if chosen.statistics and self.statistics is None:
            self.statistics = Statistics(self.documents.text_of, Journal(), self._client)
        self.asking.debounce = Debounce(self._client, chosen.debounce)

    async def connect(self) -> None:
        """Start loading the model or connecting to the server."""
        await self.link.open(self.options, self.documents.roots())

    async def _connected(self, chosen: options.Options, roots: Sequence[Path]) -> Completer:
        """A ready completer; once it is there, one request for each folder tells what it reads of other files."""
        completer = await self._connect(chosen, roots)
        if chosen.other_files and roots:
            self._learning = asyncio.create_task(self._learn(completer, roots))
        return completer

    async def _learn(self, completer: Completer, roots: Sequence[Path]) -> None:
        self.others.follow(roots)
        for adapter in dict.fromkeys(completer.adapter_of([root]) for root in roots):
            try:
                answer = await completer.complete(CompleteRequest(prefix="", adapter=adapter, max_tokens=0))
            except StarlingError as error:
                log.info("what the model reads of other files is not known yet: %s", error)
            else:
                self.others.learn(adapter, answer.repository_tokens)

    def folders_changed(self) -> None:
        """Index the workspace folders that there are now."""
        self.others.follow(self.documents.roots() if self.options.other_files else [])

    def files_changed(self, uris: Iterable[str]) -> None:
        """Read these files again, as far as they are indexed."""
        self.others.changed(path for uri in uris if (path := path_at(uri)) is not None)

    def file_renamed(self, old: str, new: str) -> None:
        """Take over a file or folder in the indexes."""
        before, after = path_at(old), path_at(new)
        if before is not None and after is not None:
            self.others.renamed(before, after)

    async def configure(self, section: Any) -> None:
        """Apply the editor's settings over its initialization options; reload if they select another model."""
        before = self.options
        self._take(options.read({**self._given, **(section if isinstance(section, dict) else {})}, self.flags))
        if self.options.other_files != before.other_files:
            self.folders_changed()
        if not self.options.same_model(before):
            await self.connect()

    async def suggest(self, params: types.InlineCompletionParams) -> list[types.InlineCompletionItem]:
        """Inline completions for a position; raises CancelledError if a newer request superseded this one."""
        document, automatic = self._document(params), _automatic(params)
        if document is None or (automatic and self.options.trigger_mode == "manual"):
            return []
        span, cursor, chosen = _place(document, params)
        text, start = document.text, document.offset(span.start)
        answer = await self._answer(document, Cursor(cursor.prefix + chosen, cursor.suffix), automatic)
        if answer is None:
            return []
        offered = {id_of(answer, number): chosen + choice.text for number, choice in enumerate(answer.choices)}
        items = {id: text for id, text in offered.items() if text != chosen}
        self._follow(document, answer, text, start, items)
        return [reply_items.item(document, span, cursor, text, id) for id, text in items.items()]

    async def popup(self, params: types.CompletionParams) -> list[types.CompletionItem]:
        """The best suggestion as one entry of the completion popup."""
        document = self._document(params)
        if document is None:
            return []
        cursor = document.cursor(params.position)
        answer = await self._answer(document, cursor, typed=True)
        if answer is None or not answer.choices[0].text:
            return []
        at = document.clamp(params.position)
        return [reply_items.popup_item(document, at, cursor, answer.choices[0].text, answer.id)]

    def _follow(
        self, document: Document, answer: CompleteResponse, text: str, start: int, items: dict[str, str]
    ) -> None:
        """Record statistics of the first item, which is the one shown."""
        if self.statistics and self.options.statistics and items:
            id, suggested = next(iter(items.items()))
            language = document.language_id or "unknown"
            new = follow(language, answer.adapter, answer.base, text, start, suggested)
            self.statistics.answered(document.uri, id, new)

    async def read_ahead(self, uri: str, position: types.Position) -> None:
        """Prefill the prompt at a position with lowest priority, to speed up its first suggestion."""
        document, completer = self.documents.find(uri), self.link.completer
        if completer is None or document is None or not self.options.warm or why_not(document, position, self.options):
            return
        request = self._request(document, document.cursor(position), 0)
        await self.others.at_rest(self._where(document, request), "always")
        await self._prefill(completer, document, request)

    async def _prefill(self, completer: Completer, document: Document, request: CompleteRequest) -> None:
        try:
            answer = await completer.complete(await self._with_others(document, request))
        except StarlingError as error:
            log.info("the prompt was not prefilled: %s", error)
        else:
            self.others.learn(request.adapter, answer.repository_tokens)

    async def _with_others(self, document: Document, request: CompleteRequest) -> CompleteRequest:
        """The request with its pieces of other files."""
        if not self.options.other_files:
            return request
        found = await self.others.context(self._where(document, request))
        return request.model_copy(update={"context": found}) if found else request

    def _where(self, document: Document, request: CompleteRequest) -> Where:
        return Where(Path(document.path), request.prefix, request.suffix, request.adapter)

    def _rest_later(self, document: Document, request: CompleteRequest) -> None:
        """Once the cursor rests, choose other files again if they have changed, and prefill the prompt with them."""
        if self._rest is not None:
            self._rest.cancel()

        def rest() -> None:
            self._resting = asyncio.create_task(self._rested(document, request))

        self._rest = asyncio.get_running_loop().call_later(REST_SECONDS, rest)

    async def _rested(self, document: Document, request: CompleteRequest) -> None:
        completer = self.link.completer
        if completer is None or not self.options.other_files:
            return
        if await self.others.at_rest(self._where(document, request), "changed") and self.options.warm:
            await self._prefill(completer, document, request.model_copy(update={"max_tokens": 0}))

    def _document(self, params: types.InlineCompletionParams | types.CompletionParams) -> Document | None:
        """The document of a request; None if its position gets no suggestions, with the reason in the status."""
        document = self.documents.find(params.text_document.uri)
        reason = why_not(document, params.position, self.options) if document else ""
        if reason:
            self.status.tell("inactive", reason)
        return None if reason else document

    async def _answer(self, document: Document, cursor: Cursor, typed: bool) -> CompleteResponse | None:
        completer = self.link.completer
        if completer is None:
            return None
        plain = self._request(document, cursor, self.options.max_tokens)
        request = await self._with_others(document, plain)
        self._rest_later(document, plain)
        if typed:
            answer = await self.asking.best(completer, request, typed)
        else:
            answer = await self.asking.several(completer, request)
        if answer is not None:
            self.others.learn(request.adapter, answer.repository_tokens)
        return answer

    def _request(self, document: Document, cursor: Cursor, max_tokens: int) -> CompleteRequest:
        before, after = self.documents.surroundings(document.uri)
        around = self.documents.around(document.uri)
        return CompleteRequest(
            prefix=_whole(before + cursor.prefix),
            suffix=_whole(cursor.suffix + after),
            path=_whole(document.path),
            language=_whole(document.language_id or "") or None,
            session=_session(document.uri),
            adapter=self.link.completer.adapter_of(around) if self.link.completer else None,
            max_tokens=max_tokens,
            mode=self.options.mode,
            comments=self.options.comments,
        )


def id_of(answer: CompleteResponse, number: int) -> str:
    """Id of a reply's choice in later events."""
    return f"{answer.id}.{number}" if number else answer.id


def _automatic(params: types.InlineCompletionParams) -> bool:
    return params.context.trigger_kind == types.InlineCompletionTriggerKind.Automatic


def _place(document: Document, params: types.InlineCompletionParams) -> tuple[types.Range, Cursor, str]:
    """The range that an item replaces, the text around it, and the text of the popup's selected entry."""
    info = params.context.selected_completion_info
    if info is None:
        at = document.clamp(params.position)
        return types.Range(at, at), document.cursor(at), ""
    before, after = document.cursor(info.range.start), document.cursor(info.range.end)
    return info.range, Cursor(before.prefix, after.suffix), info.text


def _uri(params: Any) -> str | None:
    """The URI of the document or notebook that a message is about; None if it cannot be read."""
    for name in ("textDocument", "notebookDocument"):
        with suppress(KeyError, TypeError):
            uri = params[name]["uri"]
            return uri if isinstance(uri, str) else None
    return None


def _whole(text: str) -> str:
    """The text with U+FFFD for lone surrogates, as when one half of a character was typed; tokenizers refuse them."""
    return text if text.isascii() else _LONE.sub("\ufffd", text)


def _session(uri: str) -> str:
    short = uri if len(uri) <= LONGEST_SESSION else sha256(uri.encode("utf-8", "surrogatepass")).hexdigest()
    return _whole(short)
