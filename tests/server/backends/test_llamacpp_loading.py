"""A base for the ggml runner: the same ids, files written once, no torch anywhere."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import adapter
from support.editor import COMMAND, editor

from starling_server.backends.llamacpp import bindings
from starling_server.backends.llamacpp.gguf_export import export_cache
from starling_server.backends.torch.loading import Loaded
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.errors import AdapterError, OutputError, UsageError
from starling_server.models import bases
from starling_server.models.bases import Base
from starling_server.models.tokenizer import load_tokenizer
from starling_server.serve.start import start

WITHOUT_TORCH = """
import asyncio, sys
sys.modules["torch"] = sys.modules["transformers"] = sys.modules["peft"] = None
from starling_server import adapters
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.schema import CompleteRequest
from starling_server.start import start
service = start(ModelConfig(base="tiny", runner="ggml"), ServiceConfig(), [adapters.find(sys.argv[1])])
answer = asyncio.run(service.complete(CompleteRequest(prefix="def add(a, b):\\n    return a", temperature=0.5)))
print(answer.model_dump_json())
service.close()
"""
needs_llama = pytest.mark.skipif(
    not bindings.installed() and os.environ.get("STARLING_REQUIRE_GGML") != "1",
    reason="llama.cpp is not installed: `make ggml` builds it (minutes)",
)


@pytest.fixture(scope="module")
def base() -> Base:
    return bases.find("tiny")


def test_ids_are_those_of_transformers(tiny: Loaded, base: Base, source: str) -> None:
    ours = load_tokenizer(base)
    names = ("<fim_prefix>", "<|endoftext|>", "def", "nowhere")
    assert [ours.special_id(name) for name in names] == [tiny.tokenizer.special_id(name) for name in names]

    @given(st.one_of(st.text(), st.text(st.sampled_from("ab1 \n\t<>_|fimpredxtén漢\ud800\udfff\u2028"))))
    @settings(max_examples=300, deadline=None)
    def check(text: str) -> None:
        ids = ours.encode(text)
        assert ids == tiny.tokenizer.encode(text)
        assert ours.decode(ids[:-1]) == tiny.tokenizer.decode(ids[:-1])

    check()
    for text in (source, "<fim_prefix>x<fim_middle> <|endoftext|>\ud83d?", "", "1234567 it's\r\n"):
        assert ours.encode(text) == tiny.tokenizer.encode(text)
    assert ours.decode([ours.special_id("<fim_pad>") or 0, 300]) == tiny.tokenizer.decode([4, 300])


def test_a_base_is_written_once(base: Base) -> None:
    first = export_cache.base(base, "f" * 64, "q4_0")
    written = first.stat()
    assert export_cache.base(base, "f" * 64, "q4_0") == first
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == (written.st_mtime_ns, written.st_ino)
    other = export_cache.base(base, "f" * 64, "q8_0")
    assert sorted(first.parent.iterdir()) == sorted([first, other])


def test_two_may_write_at_once(base: Base) -> None:
    with ThreadPoolExecutor(3) as pool:
        files = [task.result() for task in [pool.submit(export_cache.base, base, "a" * 64, "q4_0") for _ in range(3)]]
    assert len(set(files)) == 1
    assert list(files[0].parent.iterdir()) == [files[0]]


def test_an_adapter_trained_again_takes_the_old_ones_place(base: Base, tmp_path: Path) -> None:
    first = export_cache.adapter(adapter.write(tmp_path / "x", base, 0), base, "f")
    other = export_cache.adapter(adapter.write(tmp_path / "y", base, 0), base, "f")
    assert export_cache.adapter(adapter.write(tmp_path / "x", base, 0), base, "f") == first
    again = export_cache.adapter(adapter.write(tmp_path / "x", base, 1), base, "f")
    assert sorted(first.parent.iterdir()) == sorted([again, other])
    shutil.rmtree(tmp_path / "x")
    with pytest.raises(AdapterError, match="train the adapter again"):
        export_cache.adapter(tmp_path / "x", base, "f")


def test_a_full_disk_is_said_and_leaves_nothing(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(base: Base, path: Path, kind: str) -> None:
        path.write_bytes(b"some")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(export_cache, "write_base", full)
    with pytest.raises(OutputError, match=r"No space left on device.*STARLING_CACHE_DIR"):
        export_cache.base(base, "f" * 64, "q4_0")
    assert list((export_cache.home() / "bases").iterdir()) == []


def test_what_a_killed_process_left_goes_later(base: Base) -> None:
    old, new = (export_cache.home() / "bases" / f"{export_cache.UNFINISHED}{name}" for name in ("old", "new"))
    old.mkdir(parents=True)
    new.mkdir()
    os.utime(old, (0, 0))
    file = export_cache.base(base, "f" * 64, "q4_0")
    assert sorted(file.parent.iterdir()) == sorted([file, new])


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ModuleNotFoundError("", name="llama_cpp"), r"needs the package llama_cpp: pip install 'starling\[ggml\]'"),
        (RuntimeError("libllama.so is for another machine"), r"another machine.*--force-reinstall"),
    ],
)
def test_without_llama_cpp_the_command_that_installs_it(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> Callable[[], Any]:
        raise error

    monkeypatch.setattr(bindings, "import_module", fail)
    bindings.api.cache_clear()
    with pytest.raises(UsageError, match=says):
        start(ModelConfig(base="tiny", runner="ggml"), ServiceConfig())
    assert not export_cache.home().exists(), "nothing was written for it"
    bindings.api.cache_clear()


@needs_llama
def test_no_torch_from_start_to_answer(base: Base, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(adapter.write(tmp_path / "mine", base))]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (answer["base"], answer["adapter"]) == ("tiny", "mine")
    assert answer["usage"]["completion_tokens"] > 0


@needs_llama
async def test_the_language_server_takes_it() -> None:
    text = "".join(f"item_{n} = make_item({n})\n" for n in range(12)) + "item_12 = make"
    async with editor([*COMMAND, "--runner", "ggml"], {"ggmlType": "f32"}) as talking:
        await talking.status("ready")
        talking.open("file:///work/pattern.py", text)
        [item] = await talking.ask("file:///work/pattern.py", (12, 14))
        assert item.insert_text


@needs_llama
def test_serve_copilot_takes_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "starling_server", "--base", "tiny", "--port", "0", "--runner", "ggml"]
    with subprocess.Popen(
        [*command, "--ggml-type", "f32"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("Listening on "), said
        url = said.removeprefix("Listening on ").strip()
        asked = {
            "prefix": "".join(f"item_{n} = make_item({n})\n" for n in range(12)) + "item_12 = make",
            "suffix": "\n",
        }
        answer = httpx2.post(f"{url}/complete", json=asked, timeout=60, trust_env=False).json()
        process.terminate()
    assert answer["choices"][0]["text"]
