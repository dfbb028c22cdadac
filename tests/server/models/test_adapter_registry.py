"""Versions of adapters over a real runner: what is in memory, what stays, what goes."""

import threading
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace
from typing import cast

import pytest
from support import adapter

from starling_server.backends.openai.client import Upstream
from starling_server.backends.openai.remote_engine import RemoteModels
from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner
from starling_server.errors import AdapterError, BrokenAdapter, UnknownAdapter
from starling_server.models import adapter_folders, adapters
from starling_server.models.adapter_memory import AdapterMemory
from starling_server.models.adapter_registry import AdapterRegistry
from starling_server.models.adapter_versions import AdapterKey
from starling_server.models.bases import Base


@pytest.fixture
def base(tiny: Loaded) -> Base:
    return tiny.base


@pytest.fixture
def runner(tiny: Loaded) -> TorchRunner:
    return TorchRunner(tiny)


def make(tiny: Loaded, runner: TorchRunner, most_bytes: int = 0) -> tuple[AdapterRegistry, list[AdapterKey]]:
    """A shelf, and what it has let go of."""
    forgotten = list[AdapterKey]()
    memory = AdapterMemory(runner, most_bytes, forgotten.append)
    return AdapterRegistry(memory, tiny.base.id, tiny.fingerprint, tiny.fim.family), forgotten


def home(name: str) -> Path:
    return adapters.home() / name


def test_the_least_recently_used_goes_when_bytes_run_out(tiny: Loaded, base: Base, runner: TorchRunner) -> None:
    for seed, name in enumerate("abc"):
        adapter.write(home(name), base, seed)
    shelf, forgotten = make(tiny, runner)
    shelf.scan()
    first = shelf.ready("a")
    one = shelf.nbytes
    assert one > 0
    bounded, forgotten = make(tiny, runner, round(2.5 * one))
    runner.remove_adapter(first)
    bounded.scan()
    keys = {name: bounded.ready(name) for name in "ab"}
    bounded.ready("a")
    with bounded.hold(bounded.resolve("c")) as held:
        assert held is not None
        keys["c"] = held.key
    assert forgotten == [keys["b"]]
    assert set(runner.adapters) == {keys["a"], keys["c"]}
    assert bounded.nbytes == 2 * one
    assert bounded.ready("b") in runner.adapters


def test_those_under_way_keep_their_version(tiny: Loaded, base: Base, runner: TorchRunner) -> None:
    shelf, forgotten = make(tiny, runner)
    adapter.write(home("a"), base, 1)
    shelf.scan()
    with shelf.hold(shelf.resolve("a")) as old:
        adapter.write(home("a"), base, 2)
        shelf.scan()
        with shelf.hold(shelf.resolve("a")) as new:
            assert old is not None
            assert new is not None
            assert new.key != old.key
            assert shelf.resolve("a") == new
            assert set(runner.adapters) == {old.key, new.key}
            with shelf.hold(old) as same:
                assert same == old
        assert forgotten == []
    assert forgotten == [old.key]
    assert set(runner.adapters) == {new.key}
    with shelf.hold(old) as other:
        assert other == new, "the files of the old one are gone"


def test_what_cannot_be_loaded_leaves_the_old_one(
    tiny: Loaded, base: Base, runner: TorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_folders, "STILL_SECONDS", 0.0)
    shelf, forgotten = make(tiny, runner)
    adapter.write(home("a"), base, 1)
    shelf.scan()
    good = shelf.ready("a")
    (home("a") / adapters.WEIGHTS).write_bytes(b"not weights")
    shelf.scan()
    assert shelf.ready("a") == good
    (home("a") / "manifest.json").write_text("{")
    shelf.scan()
    assert shelf.ready("a") == good
    (found,) = shelf.states()
    assert (found.version, found.loaded, "manifest.json is damaged" in str(found.broken)) == (good, True, True)
    with pytest.raises(BrokenAdapter, match="damaged"):
        shelf.offer("a")
    adapter.write(home("a"), base, 3)
    shelf.scan()
    assert shelf.ready("a") != good
    assert shelf.states()[0].broken is None
    assert forgotten == [good]


def test_what_is_gone_is_served_no_longer_but_not_at_once(
    tiny: Loaded, base: Base, runner: TorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, forgotten = make(tiny, runner)
    adapter.write(home("a"), base)
    served.scan()
    key = served.ready("a")
    rmtree(home("a"))
    served.scan()
    assert served.resolve("a") is not None, "it may only be changing places"
    monkeypatch.setattr(adapter_folders, "GONE_SECONDS", 0.0)
    served.scan()
    with pytest.raises(UnknownAdapter):
        served.resolve("a")
    served.tidy()
    assert forgotten == [key]
    assert runner.adapters == ()


def test_a_folder_that_was_named_is_not_replaced_by_its_namesake(
    tiny: Loaded, base: Base, runner: TorchRunner, tmp_path: Path
) -> None:
    shelf, _ = make(tiny, runner)
    shelf.add(adapters.load(adapter.write(tmp_path / "a", base, 1)))
    adapter.write(home("a"), base, 2)
    adapter.write(home(".a.new"), base, 2)
    before = shelf.resolve("a")
    assert shelf.names() == ["a"]
    assert shelf.resolve("a") == before
    with pytest.raises(UnknownAdapter):
        shelf.offer("../a")


def test_one_that_cannot_be_loaded_at_the_start_is_the_users_trouble(
    tiny: Loaded, base: Base, runner: TorchRunner, tmp_path: Path
) -> None:
    shelf, _ = make(tiny, runner)
    folder = adapter.write(tmp_path / "a", base)
    (folder / adapters.WEIGHTS).write_bytes(b"not weights")
    with pytest.raises(AdapterError, match="not a complete safetensors file"):
        shelf.take(adapters.load(folder))


def test_a_disk_that_hangs_holds_nobody_up(
    tiny: Loaded, base: Base, runner: TorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, _ = make(tiny, runner)
    adapter.write(home("a"), base)
    served.scan()
    hangs, over = threading.Event(), threading.Event()

    def folders() -> Iterator[Path]:
        hangs.set()
        over.wait()
        return iter(())

    monkeypatch.setattr(adapters, "folders", folders)
    monkeypatch.setattr(adapter_folders, "PATIENCE_SECONDS", 0.01)
    looking = threading.Thread(target=served.scan)
    looking.start()
    hangs.wait()
    try:
        assert served.names() == ["a"]
        assert served.ready("a") in runner.adapters
        with pytest.raises(UnknownAdapter):
            served.resolve("b")
    finally:
        over.set()
        looking.join()


def test_a_word_is_a_name_also_where_a_folder_here_has_it(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project").mkdir()
    with pytest.raises(AdapterError, match="no readable manifest"):
        adapters.find("project")
    adapter.write(home("project"), base)
    assert adapters.find("project").path == home("project").resolve()
    with pytest.raises(AdapterError, match="no readable manifest"):
        adapters.find("./project")
    adapter.write(tmp_path / "project", base)
    assert adapters.find("project").path == tmp_path / "project"
    assert adapters.name_of("./project") == adapters.name_of("project") == "project"


def test_an_adapter_that_the_other_server_gets_later_is_asked_for_again(tiny: Loaded, base: Base) -> None:
    there = SimpleNamespace(url="http://there", names=list[str])
    served = AdapterRegistry(
        AdapterMemory(RemoteModels(1024, cast(Upstream, there))), base.id, tiny.fingerprint, tiny.fim.family
    )
    served.add(adapters.load(adapter.write(home("a"), base)))
    with pytest.raises(UnknownAdapter, match="serves no model 'a': load"):
        served.ready("a")
    there.names = lambda: ["a"]
    assert served.ready("a")
