"""Thousands of random edits, and after each batch the server's copy against the editor's.

STARLING_FUZZ_EDITS says how many edits; the default keeps the run short.
"""

import asyncio
import os
import re
import sys
from hashlib import sha256
from random import Random

import pytest
from lsprotocol import types
from support.editor import Editor, editor

EDITS, BATCH = int(os.environ.get("STARLING_FUZZ_EDITS", "4000")), 40
PIECES = [
    "a",
    "word ",
    "\n",
    "\r\n",
    "\r",
    "\f",
    "\v",
    "\u2028",
    "\u2029",
    "\x85",
    "é",
    "中文",
    "😀",
    "👩\u200d💻",
    "\t",
    "}",
    "",
]
URI = "file:///work/fuzz.py"
COMMAND = [sys.executable, "-m", "starling_lsp", "--server", "http://127.0.0.1:9"]
"""Nothing answers there, and nothing has to."""
UNITS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


class Model:
    """The editor's own text, and edits of it."""

    def __init__(self, random: Random, encoding: str) -> None:
        self.random, self.text = random, ""
        self._encoding, self._size = UNITS[encoding]

    def position(self, at: int) -> types.Position:
        """By another way than the server's: the text before is split, and its last line encoded."""
        *before, line = re.split(r"\r\n|\n|\r", self.text[:at])
        return types.Position(len(before), len(line.encode(self._encoding)) // self._size)

    def change(self) -> types.TextDocumentContentChangePartial:
        """Edit, and say so as an editor would."""
        ends = sorted(self._place() for _ in range(2))
        start, end = ends if self.random.random() < 0.5 and len(self.text) > 200 else (ends[0], ends[0])
        new = "".join(self.random.choices(PIECES, k=self.random.randint(0, 6)))
        change = types.TextDocumentContentChangePartial(types.Range(self.position(start), self.position(end)), new)
        self.text = self.text[:start] + new + self.text[end:]
        return change

    def _place(self) -> int:
        at = self.random.randint(0, len(self.text))
        return at - 1 if self.text[at - 1 : at + 1] == "\r\n" else at  # no editor has a cursor in there


async def checksum(talking: Editor) -> str:
    return await asyncio.wait_for(talking.client.protocol.send_request_async("starling/checksum", {"uri": URI}), 60)


@pytest.mark.parametrize("encoding", UNITS)
async def test_edits_over_the_wire(encoding: str) -> None:
    random = Random(encoding)
    model = Model(random, encoding)
    async with editor(COMMAND, encoding=encoding, name="fuzz") as talking:
        talking.open(URI, "")
        for batch in range(EDITS // BATCH):
            left = BATCH
            while left:
                count = min(left, random.randint(1, 4))
                document = types.VersionedTextDocumentIdentifier(batch, URI)
                changes = [model.change() for _ in range(count)]
                talking.client.text_document_did_change(types.DidChangeTextDocumentParams(document, changes))
                left -= count
            assert await checksum(talking) == sha256(model.text.encode()).hexdigest(), f"batch {batch}"
            if len(model.text) > 4_000:  # a new file now and then: cheap, and another start
                model.text = ""
                talking.open(URI, "")


async def test_a_formatter_with_a_thousand_edits_at_once() -> None:
    lines = [f"x_{n}=call( {n} )" for n in range(5_000)]
    async with editor(COMMAND, name="fuzz") as talking:
        talking.open(URI, "\n".join(lines))
        changes = list[types.TextDocumentContentChangePartial]()
        for number in range(0, 5_000, 5):
            lines[number] = f"x_{number} = call({number})"
            whole = types.Range(types.Position(number, 0), types.Position(number, 999))
            changes.append(types.TextDocumentContentChangePartial(whole, lines[number]))
        document = types.VersionedTextDocumentIdentifier(2, URI)
        talking.client.text_document_did_change(types.DidChangeTextDocumentParams(document, changes))
        assert await checksum(talking) == sha256("\n".join(lines).encode()).hexdigest()
