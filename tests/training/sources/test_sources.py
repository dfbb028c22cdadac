"""Every kind of source, as it lies on a disk: what is read of it, and what is said where it cannot be."""

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starling_server.errors import OutputError, SourceError
from starling_server.files import listing
from starling_training.sources import corpus, origins, reading, store, tables

SECRET = "ghp_" + "abcdEFGHijklmnop0123QRSTuvwxYZ456789"


def text(number: int) -> str:
    """A file unlike the others."""
    return "".join(f"def word_{number}_{n}(value):\n    return value + {number * 31 + n}\n" for n in range(20))


def git(folder: Path, *arguments: str, when: str = "2024-01-01T00:00:00Z") -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    dates = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, env=dates)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with six files, the last two of a later commit."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number in range(6):
        (folder / f"file_{number}.py").write_text(text(number))
        if number == 3:
            git(folder, "add", ".")
            git(folder, "commit", "-qm", "first")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "second", when="2025-01-01T00:00:00Z")
    return folder


def rows(count: int = 6) -> list[dict[str, str]]:
    """A table in the columns of hf-stack-v1."""
    return [{"repo_id": "src", "file_path": f"peft/src/f{n}.py", "content": text(n)} for n in range(count)]


def test_a_git_url_is_cloned_and_brought_up_to_date(checkout: Path) -> None:
    url = checkout.as_uri()
    first = corpus.read([url])
    assert len(first.documents) == 6
    assert first.commit
    assert {document.changed for document in first.documents} == {0}, "a shallow clone's one commit says nothing"
    (checkout / "file_6.py").write_text(text(6))
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "third")
    assert len(corpus.read([url]).documents) == 7


def test_history_says_when_files_changed(checkout: Path) -> None:
    times = {document.path: document.changed for document in corpus.read([checkout]).documents}
    assert len(set(times.values())) == 2
    assert times["file_5.py"] - times["file_0.py"] == 366 * 24 * 3600
    dated, undated = listing.files(checkout), listing.files(checkout, dated=False)
    assert (undated.paths, undated.changed) == (dated.paths, {}) != (dated.paths, dated.changed)


def test_what_gitattributes_calls_generated_is_left_out(checkout: Path) -> None:
    (checkout / ".gitattributes").write_text("file_0.py linguist-generated\nfile_1.py linguist-vendored=true\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "marks")
    read = corpus.read([checkout, _second(checkout)])
    assert read.dropped["marked as generated or vendored"] == 2
    assert not {"file_0.py", "file_1.py"} & {document.path for document in read.documents}


def _second(checkout: Path) -> Path:
    folder = checkout.parent / "second"
    folder.mkdir()
    for number in range(10, 16):
        (folder / f"file_{number}.py").write_text(text(number))
    return folder


def test_a_submodule_is_a_source_of_its_own(checkout: Path) -> None:
    other = _second(checkout)
    git(other, "init", "-q")
    git(other, "add", ".")
    git(other, "commit", "-qm", "other")
    git(checkout, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "inner")
    git(checkout, "commit", "-qm", "submodule")
    assert {document.path for document in corpus.read([checkout]).documents} == {f"file_{n}.py" for n in range(6)}
    assert len(corpus.read([checkout / "inner"]).documents) == 6


def test_starlingignore_keeps_files_out(checkout: Path) -> None:
    (checkout / ".starlingignore").write_text("file_5.py\n")
    assert len(corpus.read([checkout]).documents) == 5


def test_rows_of_jsonl_damaged_ones_counted(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in rows()]
    (tmp_path / "code.jsonl").write_text("\n".join([*lines, "{broken", '["list"]', '{"content": 5}']) + "\n")
    read = corpus.read([tmp_path / "code.jsonl"])
    assert [document.path for document in read.documents] == [f"peft/src/f{n}.py" for n in range(6)]
    assert {document.repository for document in read.documents} == {"peft"}
    assert read.dropped == {"damaged row": 3}
    assert read.root is None


def test_rows_of_parquet_damaged_groups_counted(tmp_path: Path) -> None:
    path = tmp_path / "code.parquet"
    pq.write_table(pa.Table.from_pylist(rows(12)), path, row_group_size=3, compression="zstd")
    texts = pq.ParquetFile(path).metadata.row_group(1).column(2)
    at = (texts.dictionary_page_offset or texts.data_page_offset) + 60
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + b"\xff" * 60 + whole[at + 60 :])
    read = corpus.read([path])
    assert read.dropped == {"damaged row": 1}
    assert len(read.documents) == 9


@pytest.mark.parametrize(
    ("row", "repository"),
    [
        ({"max_stars_repo_name": "a/b", "max_stars_repo_path": "x.py", "content": "1", "lang": "Python"}, "a/b"),
        ({"repository_name": "a/b", "path": "x.py", "content": "1"}, "a/b"),
        ({"repo_id": "src", "file_path": "hf/peft/x.py", "content": "1"}, "hf"),
        ({"text": "1", "metadata": {"file_path": "peft/x.py", "repo_id": "y"}}, "peft"),
        ({"repo_name": "a/b", "path": "x.py", "content": "1", "license": 7}, "a/b"),
    ],
)
def test_known_schemas(row: dict[str, str], repository: str) -> None:
    found = tables.file(row)
    assert not isinstance(found, str)
    assert found[1] == "1"
    assert found[2] == repository


def test_secrets_never_reach_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "leaky"
    folder.mkdir()
    for number in range(6):
        (folder / f"f{number}.py").write_text(text(number) + f'TOKEN = "{SECRET}"\n')
    read = corpus.read([folder])
    assert len(read.redactions) == 6
    assert read.redactions[0].path == "f0.py"
    assert read.redactions[0].line == 41
    kept = [path.read_bytes() for path in origins.cache_home().rglob("*") if path.is_file()]
    assert kept
    assert not any(SECRET.encode() in content for content in kept)
    assert all('TOKEN = "REDACTED_GITHUB_TOKEN"' in document.text for document in read.documents)


def test_a_second_run_takes_what_the_first_cleaned(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = corpus.read([checkout])

    def never(*_: object) -> None:
        raise AssertionError("cleaned again")

    with monkeypatch.context() as patched:
        patched.setattr(reading, "clean", never)
        second = corpus.read([checkout])
    assert second.documents == first.documents
    assert (second.signatures == first.signatures).all()
    (checkout / "file_0.py").write_text(text(99))
    assert corpus.read([checkout]).documents != first.documents
    assert len(list(origins.cache_home().glob("corpora/*/*"))) == 1, "the old state went"


def test_a_cache_that_cannot_be_written(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STARLING_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="STARLING_CACHE_DIR"):
        corpus.read([checkout])


def test_inside_a_hook_the_users_repository_is_left_alone(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.read([checkout.as_uri()])
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "work.py").write_text("x = 1\n")
    git(mine, "init", "-q", "-b", "main")
    git(mine, "add", ".")
    git(mine, "commit", "-qm", "mine")
    (mine / "work.py").write_text("x = 2\n")
    monkeypatch.setenv("GIT_DIR", str(mine / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(mine))
    assert len(corpus.read([checkout.as_uri()]).documents) == 6
    assert [path.name for path in mine.iterdir() if path.suffix] == ["work.py"]
    assert (mine / "work.py").read_text() == "x = 2\n"


def test_a_token_in_a_url_is_never_shown(checkout: Path) -> None:
    with pytest.raises(SourceError) as failure:
        corpus.read(["https://me:t0psecret@127.0.0.1:1/team/api.git"])
    assert "t0psecret" not in str(failure.value)
    assert "https://127.0.0.1:1/team/api.git" in str(failure.value)
    assert origins.resolve(checkout.as_uri().replace("///", "//me:t0psecret@/")).named == checkout.as_uri()


def test_many_files_on_all_cores_in_order(tmp_path: Path) -> None:
    for number in range(reading.ALONE + 50):
        (tmp_path / f"f{number:04}.py").write_text(f"name_{number} = {number}\n" * 5)
    read = corpus.read([tmp_path])
    assert [document.path for document in read.documents] == [f"f{n:04}.py" for n in range(reading.ALONE + 50)]


def test_reading_is_counted_and_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"f{number:04}.py").write_text(text(number))
    command = [sys.executable, "-m", "starling_training", str(tmp_path), "--base", "tiny", "--dry-run"]
    primary, secondary = pty.openpty()
    run = subprocess.Popen(command, stdout=secondary, stderr=secondary, start_new_session=True)
    os.close(secondary)
    shown = ""
    while "cleaning: " not in shown:
        shown += os.read(primary, 4096).decode(errors="replace")
    os.killpg(run.pid, signal.SIGINT)
    with suppress(OSError):  # the last writer closed the terminal
        while more := os.read(primary, 4096):
            shown += more.decode(errors="replace")
    os.close(primary)
    # Python ends itself by the signal, a shell's 130 too, where the interrupt also passed through a library's own code.
    assert run.wait(30) in {130, -signal.SIGINT}
    assert "interrupted" in shown
    assert "Traceback" not in shown
    assert not [path for path in origins.cache_home().rglob("*") if path.is_file()]


def test_a_large_source_can_be_cut_short(tmp_path: Path) -> None:
    (tmp_path / "code.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(30)))
    assert [document.path for document in corpus.read([tmp_path / "code.jsonl"], max_files=7).documents] == [
        f"peft/src/f{n}.py" for n in range(7)
    ]


def test_weights_reach_the_documents(checkout: Path) -> None:
    read = corpus.read([checkout, _second(checkout)], [2.0, 0.5])
    assert [document.weight for document in read.documents] == [2.0] * 6 + [0.5] * 6


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("no/such/folder", "does not exist"),
        ("hf:just-a-name", "is not a dataset"),
        ("file:///no/such/repository", "git cannot fetch"),
        ("hf:owner/nothing-of-this-name", "cannot be read"),
    ],
)
def test_sources_that_cannot_be_had(named: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        corpus.read([named])


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("a,b\n")
    with pytest.raises(SourceError, match="file of no kind"):
        corpus.read([tmp_path / "notes.csv"])


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ("https://example.org/team/api.git", "api"),
        ("git@example.org:team/api.git", "api"),
        ("hf:smangrul/hf-stack-v1@main:train", "hf-stack-v1"),
        ("hf:gonglinyuan/safim/block:test", "safim"),
        ("hf:team/rows:test", "rows"),
        ("/data/code.jsonl.gz", "code"),
        ("/data/code.jsonl", "code"),
    ],
)
def test_short_names(named: str, name: str) -> None:
    assert origins.short_name(named) == name


def test_a_store_that_was_not_finished_is_not_taken(tmp_path: Path) -> None:
    def breaks() -> object:
        yield "binary"
        raise SourceError("the network went away.")

    with pytest.raises(SourceError):
        store.write(tmp_path / "kept", breaks())  # pyright: ignore[reportArgumentType]
    assert list(tmp_path.iterdir()) == []
