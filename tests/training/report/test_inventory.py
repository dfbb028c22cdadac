"""The account of what was read: counts, places, hashes."""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from starling_server.backends.torch.loading import Loaded
from starling_training.report import inventory
from starling_training.report.inventory import Inventory
from starling_training.sources import corpus
from starling_training.sources.split import apart, split

KEY = "AKIA" + "Z7XQ4T2WVB5NMK3P"
CODE = "def {name}_{n}(value, {name}):\n    return {name} + value * {n}\n\n\n"


def fill(folder: Path, names: str) -> Path:
    folder.mkdir()
    for name in names.split():
        (folder / f"{name}.py").write_text("".join(CODE.format(name=name, n=n) for n in range(20)))
    return folder


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    first = fill(tmp_path / "first", "ledger parcel salary budget asset stock order")
    (first / "near.py").write_text((first / "ledger.py").read_text() + "\n# one line more\n")
    (first / "notes.txt").write_text("prose")
    (first / "keys.py").write_text(CODE.format(name="key", n=1) * 5 + f'aws_access_key_id = "{KEY}"\n')
    second = fill(tmp_path / "second", "client vendor")
    (second / "same.py").write_text((first / "order.py").read_text())
    return [first, second]


def taken(sources: list[Path], tiny: Loaded) -> Inventory:
    read = corpus.read(sources, [2.0, 1.0])
    return inventory.take(read, apart(split(read.documents, 0.1, 0), read), tiny.tokenizer)


def test_every_file_is_accounted_for(sources: list[Path], tiny: Loaded) -> None:
    found = taken(sources, tiny)
    assert found.dropped == {"not source code": 1, "duplicate": 1, "near duplicate": 1}
    assert found.files == 10
    assert found.seen == 13
    assert [(source.name, source.files, source.weight) for source in found.sources] == [
        ("first", 8, 2.0),
        ("second", 2, 1.0),
    ]
    assert sum(source.characters for source in found.sources) == found.characters
    assert found.languages == {"Python": 10}
    assert set(found.near_duplicates) < {"near.py", "ledger.py"}
    assert len(found.near_duplicates) == 1
    assert found.held_out


def test_secrets_are_counted_by_place_and_never_told(sources: list[Path], tiny: Loaded, tmp_path: Path) -> None:
    found = taken(sources, tiny)
    assert found.secrets == {"AWS Access Key": ["keys.py:21"]}
    assert found.hidden == {"AWS Access Key": 1}
    inventory.write(found, tmp_path)
    written = (tmp_path / inventory.CORPUS).read_text()
    assert KEY not in written
    assert json.loads(written) == json.loads(json.dumps(asdict(found)))


def test_hashes_follow_the_files(sources: list[Path], tiny: Loaded) -> None:
    before = [source.sha256 for source in taken(sources, tiny).sources]
    assert [source.sha256 for source in taken(sources, tiny).sources] == before
    (sources[1] / "client.py").write_text((sources[1] / "client.py").read_text().replace("client", "buyer"))
    after = [source.sha256 for source in taken(sources, tiny).sources]
    assert after[0] == before[0]
    assert after[1] != before[1]
    (sources[1] / "vendor.py").rename(sources[1] / "seller.py")
    assert taken(sources, tiny).sources[1].sha256 not in (before[1], after[1])


def test_tokens_are_estimated_near_their_number(sources: list[Path], tiny: Loaded) -> None:
    found, read = taken(sources, tiny), corpus.read(sources)
    exact = sum(len(tiny.tokenizer.encode(document.text)) for document in read.documents)
    assert found.tokens == pytest.approx(exact, rel=0.2)
    assert inventory.tokens_per_character([], tiny.tokenizer) == 0


def test_a_plain_folder_inside_a_checkout_has_no_commit(tiny: Loaded, tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    tracked = fill(tmp_path / "tracked", "ledger parcel salary budget asset stock order")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    plain = fill(tmp_path / "plain", "client vendor")
    commits = [source.commit for source in taken([tracked, plain], tiny).sources]
    assert commits[0]
    assert commits[1] is None
