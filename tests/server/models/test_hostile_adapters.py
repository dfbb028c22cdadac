"""Adapters that nobody should have made: each is refused by one sentence, soon, and nobody else notices."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from tempfile import mkdtemp
from time import sleep

import httpx2
import numpy as np
import pytest
from support import adapter, hostile, serving

from starling_server import untrusted
from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner
from starling_server.errors import AdapterError
from starling_server.models import adapter_folders, adapters, bases, lora, manifest
from starling_server.models.adapter_memory import AdapterMemory
from starling_server.models.adapter_registry import AdapterRegistry
from starling_server.models.adapter_versions import AdapterKey
from starling_server.models.bases import Base

NEEDS_BASE = ("no-such-layer", "layer-escapes", "a-norm", "wide")
"""Sound in themselves; only the base says that they are wrong."""


@pytest.fixture(scope="module")
def base() -> Base:
    return bases.find("tiny")


@pytest.fixture(scope="module")
def runner(tiny: Loaded) -> TorchRunner:
    return TorchRunner(tiny)


def make(folder: Path, base: Base, spoil: hostile.Spoil) -> Path:
    """A good adapter, spoilt."""
    spoil(adapter.write(folder, base))
    return folder


def load(folder: Path, base: Base, runner: TorchRunner) -> None:
    """All that serving does with it."""
    manifest.check(adapters.load(folder).manifest, base.id, bases.fingerprint(base), base.model_type)
    runner.need(folder)
    runner.add_adapter(folder.name, folder)


@pytest.mark.parametrize("form", hostile.REFUSED)
def test_every_form_is_refused_in_one_sentence(form: str, base: Base, runner: TorchRunner, tmp_path: Path) -> None:
    spoil, words = hostile.REFUSED[form]
    folder = make(tmp_path / "home" / form, base, spoil)
    with pytest.raises(AdapterError, match=re.escape(words)) as refused:
        load(folder, base, runner)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 800
    assert runner.adapters == ()


@pytest.mark.parametrize("form", hostile.HARMLESS)
def test_what_is_never_followed_does_no_harm(form: str, base: Base, tmp_path: Path) -> None:
    folder, good = make(tmp_path / form, base, hostile.HARMLESS[form]), adapter.write(tmp_path / "good", base)
    adapters.load(folder)
    found, wanted = lora.read(folder).pairs, lora.read(good).pairs
    assert found.keys() == wanted.keys()
    for module, pair in found.items():
        np.testing.assert_allclose(pair.delta(), wanted[module].delta())


def test_patterns_mean_what_they_mean_to_peft(base: Base, tmp_path: Path) -> None:
    patterns = {r"h\.1\.attn\.c_attn": 1, "h.2.*": 2, "^attn.c_proj": 3, "^transformer.h.3.attn.c_proj": 4, "c_proj": 5}
    folder = adapter.write(tmp_path / "a", base, alpha_pattern=patterns)
    found = {module: pair.factor * adapter.RANK for module, pair in lora.outline(folder).pairs.items()}
    for module, factor in found.items():
        hit = next((k for k in patterns if re.match(rf"(.*\.)?({k})$", module)), None)  # as peft does
        assert factor == patterns.get(hit or "", 2 * adapter.RANK)
    assert set(found.values()) == {1, 2, 4, 5, 8}


def test_an_adapter_larger_than_the_budget_is_refused_by_its_header(tiny: Loaded, base: Base, tmp_path: Path) -> None:
    """Its file is a hole; among the others it would make all of theirs as large."""
    folder = make(tmp_path / "large", base, hostile.sparse_rank(192))
    runner, small = TorchRunner(tiny), adapter.write(tmp_path / "small", base)
    shelf = AdapterRegistry(
        AdapterMemory(runner, runner.need(small).own), tiny.base.id, tiny.fingerprint, tiny.fim.family
    )
    with pytest.raises(AdapterError, match=r"takes [\d.]+ MiB and --adapters-mb allows"):
        shelf.take(adapters.load(folder))
    assert shelf.take(adapters.load(small)) == "small"


def test_one_of_a_large_rank_makes_the_others_large_only_while_it_is_there(
    tiny: Loaded, base: Base, tmp_path: Path
) -> None:
    runner = TorchRunner(tiny)
    runner.add_adapter("small", adapter.write(tmp_path / "small", base))
    before, said = runner.adapter_bytes("small"), runner.score("small", [5, 6, 7, 8], 1)
    runner.add_adapter("large", make(tmp_path / "large", base, hostile.sparse_rank(192)))
    assert runner.adapter_bytes("small") == 24 * before
    runner.remove_adapter("large")
    assert runner.adapter_bytes("small") == before
    assert runner.score("small", [5, 6, 7, 8], 1) == said


def test_room_is_made_before_all_grow(tiny: Loaded, base: Base, tmp_path: Path) -> None:
    runner, folders = TorchRunner(tiny), [adapter.write(tmp_path / name, base) for name in "abc"]
    most = 30 * runner.need(folders[0]).own
    shelf = AdapterRegistry(AdapterMemory(runner, most), tiny.base.id, tiny.fingerprint, tiny.fim.family)
    for folder in folders:
        shelf.take(adapters.load(folder))
    shelf.take(adapters.load(make(tmp_path / "large", base, hostile.sparse_rank(192))))
    assert [key.name for key in runner.adapters if isinstance(key, AdapterKey)] == ["large"]
    shelf.ready("a")
    assert [key.name for key in runner.adapters if isinstance(key, AdapterKey)] == ["a"]


def test_what_another_users_server_cannot_read_is_not_called_damaged(tiny: Loaded, base: Base) -> None:
    folder = adapter.write(Path(mkdtemp(prefix="starling-")) / "mine", base)
    folder.parent.chmod(0o755)
    runner = TorchRunner(tiny)
    load(folder, base, runner)
    for name in (adapters.WEIGHTS, adapters.CONFIG, manifest.MANIFEST):
        (folder / name).chmod(0)
        with as_nobody(), pytest.raises(AdapterError, match=rf"{name} cannot be read \(permission denied\): make it"):
            load(folder, base, runner)
        (folder / name).chmod(0o644)


class as_nobody:
    """Root reads everything, so a while without its rights."""

    def __enter__(self) -> None:
        self._was = os.geteuid()
        if self._was == 0:
            os.seteuid(65534)

    def __exit__(self, *_: object) -> None:
        if self._was == 0:
            os.seteuid(0)


def test_the_hubs_cache_links_to_its_blobs(tmp_path: Path) -> None:
    repository = tmp_path / "models--a--b"
    (repository / "blobs").mkdir(parents=True)
    (repository / "snapshots" / "1").mkdir(parents=True)
    (repository / "blobs" / "x").write_bytes(b"{}")
    (tmp_path / "elsewhere").write_bytes(b"{}")
    file = repository / "snapshots" / "1" / "f"
    file.symlink_to("../../blobs/x")
    assert untrusted.read(untrusted.inside(file, file.parent), 10) == b"{}"
    file.unlink()
    file.symlink_to("../../../elsewhere")
    with pytest.raises(untrusted.Unfit, match="outside"):
        untrusted.inside(file, file.parent)


def test_a_copy_is_judged_when_it_holds_still_and_reported_once(
    tiny: Loaded, base: Base, runner: TorchRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    shelf = AdapterRegistry(AdapterMemory(runner), tiny.base.id, tiny.fingerprint, tiny.fim.family)
    whole, half = adapter.write(tmp_path / "whole", base), adapters.home() / "half"
    half.mkdir(parents=True)
    data = (whole / adapters.WEIGHTS).read_bytes()
    for name in (manifest.MANIFEST, adapters.CONFIG):
        (half / name).write_bytes((whole / name).read_bytes())
    for size in (0, 7, 1000, len(data) // 2, len(data) - 1):
        (half / adapters.WEIGHTS).write_bytes(data[:size])
        shelf.scan()
        assert shelf.states() == []
        with pytest.raises(AdapterError, match="if they are being copied, ask again"):
            raise_as_adapter_error(shelf, "half")
    assert caplog.records == []
    monkeypatch.setattr(adapter_folders, "STILL_SECONDS", 0.0)
    for _ in range(3):
        sleep(0.01)
        shelf.scan()
    assert len(caplog.records) == 1
    assert [state.name for state in shelf.states()] == ["half"]
    (half / adapters.WEIGHTS).write_bytes(data)
    shelf.scan()
    assert shelf.resolve("half") is not None
    assert shelf.states()[0].broken is None


def raise_as_adapter_error(shelf: AdapterRegistry, name: str) -> None:
    try:
        shelf.resolve(name)
    except Exception as error:
        raise AdapterError(str(error)) from error


def test_a_look_that_began_after_one_came_is_not_repeated(
    tiny: Loaded, runner: TorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = AdapterRegistry(AdapterMemory(runner), tiny.base.id, tiny.fingerprint, tiny.fim.family)
    looks, begun, over = list[int](), threading.Event(), threading.Event()

    def folders() -> Generator[Path]:
        looks.append(1)
        begun.set()
        over.wait()
        yield from ()

    monkeypatch.setattr(adapters, "folders", folders)
    first = threading.Thread(target=shelf.scan)
    first.start()
    begun.wait()
    waiting = [threading.Thread(target=shelf.scan) for _ in range(20)]
    for thread in waiting:
        thread.start()
    sleep(0.1)
    over.set()
    for thread in (first, *waiting):
        thread.join()
    assert len(looks) <= 2


@pytest.fixture(scope="module")
def zoo(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Generator[serving.Server]:
    """A server whose folder holds every form, a good adapter and folders that nobody can name."""
    folder = tmp_path_factory.mktemp("zoo")
    home = folder / "data" / "adapters"
    adapter.write(home / "good", base)
    for name, (spoil, _) in hostile.REFUSED.items():
        make(home / name, base, spoil)
    for name, spoil in hostile.HARMLESS.items():
        make(home / name, base, spoil)
    for odd in hostile.ODD_NAMES:
        adapter.write(home / "odd", base).rename(Path(os.fsdecode(os.fsencode(home) + b"/" + odd)))
    os.mkfifo(home / "a-pipe")
    (home / "a-loop").symlink_to("a-loop")
    with serving.protected(folder, "--adapter", "good") as server:
        sleep(adapter_folders.STILL_SECONDS)
        yield server


def judged(http: httpx2.Client, name: str) -> httpx2.Response:
    """The answer about an adapter once its files count as complete; on a busy machine they are first seen late."""
    body = {"prefix": "def ", "adapter": name, "max_tokens": 1}
    for _ in range(60):
        if "are incomplete" not in http.post("/complete", json=body).text:
            break
        sleep(1)
    return http.post("/complete", json=body)


def test_a_server_among_all_of_them_answers_as_ever(zoo: serving.Server) -> None:
    served = ["good", *hostile.HARMLESS, *NEEDS_BASE, "nan", "infinite", "value-huge"]
    with zoo.client() as http:
        for _ in range(2):
            ready = http.get("/ready")
            assert (ready.status_code, ready.json()["adapters"]) == (200, sorted(served))
            listed = http.get("/v1/models")
            assert [model["id"] for model in listed.json()["data"]] == ["tiny", *sorted(served)]
            assert http.get("/v1/adapters").status_code == 200
        for name in hostile.REFUSED:
            answer = judged(http, name)
            assert (name, answer.status_code) == (name, 404)
            if name != "other-base":  # one of another base is none of this server's
                assert hostile.REFUSED[name][1] in answer.json()["detail"]
        for name in ("good", *hostile.HARMLESS):
            assert http.post("/complete", json={"prefix": "def ", "adapter": name, "max_tokens": 1}).status_code == 200
        for odd in hostile.ODD_NAMES:
            name = os.fsdecode(odd).encode("utf-8", "replace").decode()
            answer = http.post("/complete", json={"prefix": "def ", "adapter": name, "max_tokens": 1})
            assert answer.status_code == (200 if name == "base" else 404)
        assert http.get("/ready").json()["adapters"] == sorted({"good", *hostile.HARMLESS})
    lines = zoo.log().splitlines()
    assert [line for line in lines if not line.isprintable()] == []
    assert "Traceback" not in zoo.log()
    for name in hostile.REFUSED:
        if name != "other-base":
            named = re.compile(rf"/{re.escape(name)}(?![\w-])")
            assert len([line for line in lines if named.search(line.partition(":")[2])]) == 1, name
    assert len([line for line in lines if "cannot name an adapter" in line]) == len(hostile.ODD_NAMES)
    status = Path(f"/proc/{zoo.process.pid}/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        assert int(peak.split()[1]) < 3 << 20, peak  # KiB; a server with one good adapter takes about 0.8 GiB


@pytest.mark.parametrize("name", ["%00", "..%2f..", "%ff", "n" * 5000, "-rf", "a-pipe", "a-loop"])
def test_no_name_in_an_address_fails_the_server(name: str, zoo: serving.Server) -> None:
    with zoo.client(serving.ADMIN) as http:
        for answer in (http.post(f"/v1/adapters/{name}/load"), http.get(f"/v1/models/{name}")):
            assert 400 <= answer.status_code < 500


COMMANDS = {
    "serve": ("-m", "starling_server", "--base", "tiny", "--port", "0", "--adapter"),
    "export": ("-m", "starling_training", "export", "--gguf"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", ["config-fifo", "config-deep", "rank-million-sparse", "weights-short", "wide", "nan"])
def test_a_command_ends_with_one_sentence(form: str, command: str, base: Base, tmp_path: Path) -> None:
    folder = make(tmp_path / "home" / form, base, hostile.REFUSED[form][0])
    ended = subprocess.run(
        [sys.executable, *COMMANDS[command], str(folder)],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert hostile.REFUSED[form][1] in ended.stderr.strip().splitlines()[-1]
