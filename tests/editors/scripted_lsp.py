"""A language server that suggests from a script, by the reply contract of starling-lsp: `scripted_lsp.py SCRIPT LOG`.

SCRIPT is a JSON object that maps the text before the cursor's end to what follows it: with `{"fo": "o_bar"}` it answers
`o_bar` after `fo` and `_bar` after `foo`. A person who asks gets two more, with `2` and `3` behind. LOG gets one JSON
line for each request or notification worth a look.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer


def suggest(script: Mapping[str, str], before: str) -> str:
    """What the script says after `before`, less what is typed of it already; empty for nothing."""
    for key, text in script.items():
        for typed in range(len(text)):
            if before.endswith(key + text[:typed]):
                return text[typed:]
    return ""


def replaced(text: str, after: str) -> str:
    """The part of `after`, the line's rest, that `text` replaces: all or nothing."""
    return after if "\n" in text or re.fullmatch(r"\W*", after) else ""


def build(script: Mapping[str, str], log: Path) -> LanguageServer:
    """A server for one client."""
    server = LanguageServer("scripted", "1")

    def record(kind: str, content: Any) -> None:
        with log.open("a", encoding="utf-8") as file:
            print(json.dumps({"kind": kind, "content": content}), file=file)

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def complete(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        items = answer(server, script, params)
        record("answer", [item.insert_text for item in items])
        return types.InlineCompletionList(items=items)

    @server.feature(types.INITIALIZED)
    async def initialized(params: types.InitializedParams) -> None:
        record("started", os.getpid())
        server.protocol.notify("starling/status", {"kind": "ready", "base": "scripted", "message": "at your service"})

    @server.command("starling.accepted")
    async def accepted(meta: Any) -> None:
        record("accepted", {"id": meta["id"], "suffix": meta["suffix"]})

    @server.feature("textDocument/didShowCompletion")
    async def shown(params: Any) -> None:
        record("shown", params.item.command.arguments[0].id)

    @server.feature("starling/health")
    async def health(params: Any) -> dict[str, Any]:
        return {"version": "1", "device": "paper", "base": "scripted", "adapter": None, "answers": 2, "remembered": 1}

    @server.feature("textDocument/didPartiallyAcceptCompletion")
    async def partially_accepted(params: Any) -> None:
        record("partial", {"text": params.item.insertText, "length": params.acceptedLength})

    return server


def answer(
    server: LanguageServer, script: Mapping[str, str], params: types.InlineCompletionParams
) -> list[types.InlineCompletionItem]:
    """One item or none."""
    document = server.workspace.get_text_document(params.text_document.uri)
    codec, lines = document.position_codec, document.lines
    position = codec.position_from_client_units(lines, params.position)
    line = lines[position.line].rstrip("\r\n") if position.line < len(lines) else ""
    before, after = line[: position.character], line[position.character :]
    text = suggest(script, before)
    if not text:
        return []
    suffix = codec.client_num_units(replaced(text, after))
    start = params.position
    span = types.Range(start, types.Position(start.line, start.character + suffix))
    invoked = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked

    def item(number: int) -> types.InlineCompletionItem:
        command = types.Command("", "starling.accepted", arguments=[{"id": str(number), "suffix": suffix}])
        return types.InlineCompletionItem(text + (str(number) if number > 1 else ""), range=span, command=command)

    return [item(number) for number in range(1, 4 if invoked else 2)]


if __name__ == "__main__":
    build(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])).start_io()
