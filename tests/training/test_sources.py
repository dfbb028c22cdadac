"""Every kind of source, as it lies on a disk: what is read of it, and what is said where it cannot be."""

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starling_server.errors import SourceError
from starling_training import corpus, origins, reading, store

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
    ],
)
def test_known_schemas(tmp_path: Path, row: dict[str, str], repository: str) -> None:
    (tmp_path / "one.jsonl").write_text(json.dumps(row | {"content": row.get("content", "")}) + "\n")
    from starling_training import tables

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
    placed = {found.path: found for found in read.redactions}
    for document in read.documents:
        assert document.text[placed[document.path].start :].startswith("REDACTED_GITHUB_TOKEN")


def test_a_second_run_takes_what_the_first_cleaned(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = corpus.read([checkout])

    def never(*_: object) -> None:
        raise AssertionError("cleaned again")

    monkeypatch.setattr(reading, "clean", never)
    second = corpus.read([checkout])
    assert second.documents == first.documents
    assert (second.signatures == first.signatures).all()
    monkeypatch.undo()
    (checkout / "file_0.py").write_text(text(99))
    assert corpus.read([checkout]).documents != first.documents


def test_many_files_on_all_cores_in_order(tmp_path: Path) -> None:
    for number in range(reading.ALONE + 50):
        (tmp_path / f"f{number:04}.py").write_text(f"name_{number} = {number}\n" * 5)
    read = corpus.read([tmp_path])
    assert [document.path for document in read.documents] == [f"f{n:04}.py" for n in range(reading.ALONE + 50)]


def test_weights_reach_the_documents(checkout: Path) -> None:
    read = corpus.read([checkout, _second(checkout)], [2.0, 0.5])
    assert [document.weight for document in read.documents] == [2.0] * 6 + [0.5] * 6


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("no/such/folder", "does not exist"),
        ("hf:just-a-name", "names no dataset"),
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
