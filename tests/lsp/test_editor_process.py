"""The end of an editor's process, where the system tells of it and where it has to be looked for."""

import asyncio
import os
import sys

import pytest

from starling_lsp import editor_process


@pytest.mark.parametrize("told", [True, False])
async def test_the_end_is_noticed(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not told:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        monkeypatch.setattr(editor_process, "POLL_SECONDS", 0.02)
    gone = asyncio.Event()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    editor_process.watch(process.pid, gone.set)
    await asyncio.sleep(0.1)
    assert not gone.is_set()
    process.kill()
    await process.wait()
    await asyncio.wait_for(gone.wait(), 30)
    again = asyncio.Event()
    editor_process.watch(process.pid, again.set)
    await asyncio.wait_for(again.wait(), 30)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**63, 1])
async def test_what_is_no_process_of_ours(pid: int, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that no process can have say nothing about an editor; process 1 is another user's, mostly."""
    if not told:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        monkeypatch.setattr(editor_process, "POLL_SECONDS", 0.02)
    gone = asyncio.Event()
    editor_process.watch(pid, gone.set)
    await asyncio.sleep(0.1)
    assert not gone.is_set()
