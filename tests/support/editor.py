"""A spawned language server and an editor that speaks JSON-RPC to it."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.client import LanguageClient

COMMAND = [sys.executable, "-m", "starling_lsp", "--base", "tiny"]


class Editor:
    """What an editor does: opens, edits, asks, and hears of the server's status."""

    def __init__(self, client: LanguageClient) -> None:
        self.client = client
        self.statuses: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.version = 1
        self.encoding = ""

        def heard(params: Any) -> None:
            self.statuses.append({key: getattr(params, key) for key in ("kind", "message", "base", "adapter")})
            self.changed.set()

        client.feature("starling/status")(heard)
        self.progress: list[tuple[object, Any]] = []
        self.cancels = ""
        """Progress under a token that ends so is cancelled."""

        def created(params: types.WorkDoneProgressCreateParams) -> None:
            pass

        def went_on(params: types.ProgressParams) -> None:
            self.progress.append((params.token, params.value))
            if self.cancels and str(params.token).endswith(self.cancels):
                client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(params.token))

        client.feature(types.WINDOW_WORK_DONE_PROGRESS_CREATE)(created)
        client.feature(types.PROGRESS)(went_on)

    async def status(self, *kinds: str) -> dict[str, Any]:
        """Wait until the newest status is of one of `kinds`."""
        while not self.statuses or self.statuses[-1]["kind"] not in kinds:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 120)
        return self.statuses[-1]

    def open(self, uri: str, text: str, language: str = "python") -> None:
        self.version = 1
        item = types.TextDocumentItem(uri, types.LanguageKind(language), self.version, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def configure(self, settings: object) -> None:
        """Send settings as editors do that are not asked for them."""
        self.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings))  # pyright: ignore[reportArgumentType] - any JSON

    def close(self, uri: str) -> None:
        self.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def edit(self, uri: str, start: tuple[int, int], end: tuple[int, int], text: str) -> None:
        self.version += 1
        change = types.TextDocumentContentChangePartial(types.Range(types.Position(*start), types.Position(*end)), text)
        document = types.VersionedTextDocumentIdentifier(self.version, uri)
        self.client.text_document_did_change(types.DidChangeTextDocumentParams(document, [change]))

    async def ask(
        self,
        uri: str,
        at: tuple[int, int],
        popup: types.SelectedCompletionInfo | None = None,
        kind: types.InlineCompletionTriggerKind = types.InlineCompletionTriggerKind.Automatic,
    ) -> list[types.InlineCompletionItem]:
        """The items that the server gives at a position in client units."""
        answer = await self.client.text_document_inline_completion_async(
            types.InlineCompletionParams(
                types.InlineCompletionContext(kind, popup), types.TextDocumentIdentifier(uri), types.Position(*at)
            )
        )
        assert isinstance(answer, types.InlineCompletionList), "never null"
        return list(answer.items)


def _section(settings: Callable[[], object], params: types.ConfigurationParams) -> list[object]:
    return [settings()]


def _registered(params: types.RegistrationParams) -> None:
    """Nothing to do: the editor sends its settings anyway."""


@asynccontextmanager
async def editor(
    command: list[str],
    options: object = None,
    encoding: str = "utf-16",
    name: str = "Neovim",
    root: Path | None = None,
    folders: Sequence[Path] = (),
    settings: Callable[[], object] | None = None,
    progress: bool = False,
) -> AsyncGenerator[Editor]:
    """An initialised editor over stdio; with `settings` it is one that servers ask for their section."""
    client = LanguageClient("tests", "1")
    talking = Editor(client)
    if settings is not None:
        client.feature(types.WORKSPACE_CONFIGURATION)(partial(_section, settings))
        client.feature(types.CLIENT_REGISTER_CAPABILITY)(_registered)
    await client.start_io(*command)
    asked = types.WorkspaceClientCapabilities(
        configuration=settings is not None,
        did_change_configuration=types.DidChangeConfigurationClientCapabilities(settings is not None),
    )
    general = types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind(encoding)])
    answer = await client.initialize_async(
        types.InitializeParams(
            types.ClientCapabilities(
                workspace=asked, general=general, window=types.WindowClientCapabilities(work_done_progress=progress)
            ),
            initialization_options=options,
            client_info=types.ClientInfo(name),
            root_uri=root.as_uri() if root else None,
            workspace_folders=[types.WorkspaceFolder(folder.as_uri(), folder.name) for folder in folders] or None,
        )
    )
    assert answer.capabilities.inline_completion_provider is not None
    talking.encoding = str(answer.capabilities.position_encoding)
    client.initialized(types.InitializedParams())
    try:
        yield talking
    finally:
        await client.shutdown_async(None)
        client.exit(None)
        await asyncio.wait_for(client.stop(), 20)
