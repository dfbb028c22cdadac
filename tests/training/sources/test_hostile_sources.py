"""Sources that were made to hang, to fill memory or to end the command with a trace.

Each holds good files too. They are read, and what is wrong is counted or said in one sentence.
"""

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pathspec import GitIgnoreSpec

from starling_server.errors import SourceError
from starling_server.files import ignoring, languages, listing, notebook
from starling_training.sources import corpus, reading, tables

GOOD = 6
MOST_RESIDENT = 900_000
"""KiB of a command that reads. Its libraries take 540,000 of that."""
MEASURED = Path(__file__).parents[2] / "support" / "measured_training.py"
"""The command, which says at its end how much memory it took."""


def text(number: int) -> str:
    """A file unlike the others."""
    return "".join(f"def word_{number}_{n}(value):\n    return value + {number * 31 + n}\n" for n in range(20))


def folder(root: Path) -> Path:
    """One with good files."""
    root.mkdir(parents=True)
    for number in range(GOOD):
        (root / f"good_{number}.py").write_text(text(number))
    return root


def lines(*more: Any) -> bytes:
    """Good rows, then others as they are given, bytes or what JSON is made of."""
    good: list[Any] = [{"path": f"src/good_{n}.py", "content": text(n)} for n in range(GOOD)]
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in (*good, *more))


def command(source: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    run = [sys.executable, str(MEASURED), str(source), "--base", "tiny", "--dry-run", *words]
    done = subprocess.run(run, capture_output=True, text=True, timeout=240, check=False, errors="replace")
    assert "Traceback" not in done.stdout + done.stderr
    return done


def pipes(root: Path) -> None:
    os.mkfifo(folder(root) / "pipe.py")
    os.mkfifo(root / "nested.ipynb")


def stars(root: Path) -> None:
    (folder(root) / ".gitignore").write_text("*a" * 20 + "b\n" + "**/a/" * 14 + "b\n")
    deep = root.joinpath(*["a"] * 40)
    deep.mkdir(parents=True)
    (deep / ("a" * 60 + ".py")).write_text(text(50))


def no_patterns(root: Path) -> None:
    (folder(root) / ".gitignore").write_text("a\\\n//\n[\n\0\n")


def deep_notebook(root: Path) -> None:
    (folder(root) / "deep.ipynb").write_text('{"cells":' + "[" * 100_000 + "]" * 100_000 + "}")


def odd_names(root: Path) -> None:
    folder(root)
    for number, name in enumerate((b"new\nline.py", b"caf\xe9.py", b"\x1b[31mred.py", b"a" * 252 + b".py")):
        Path(os.fsdecode(os.path.join(os.fsencode(root), name))).write_text(text(60 + number))


def deep_folders(root: Path) -> None:
    before = Path.cwd()
    os.chdir(folder(root))
    for _ in range(1500):
        os.mkdir("a")
        os.chdir("a")
    os.chdir(before)


def rows(*more: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.with_suffix(".jsonl").write_bytes(lines(*more))

    return write


def long_line(path: Path) -> None:
    with gzip.open(path.with_suffix(".jsonl.gz"), "wb", 1) as file:
        file.write(lines())
        file.write(b'{"path":"big.py","content":"')
        for _ in range(1_000):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n' + json.dumps({"path": "last.py", "content": text(70)}).encode())


def dictionary(path: Path) -> None:
    """A few kB of parquet: one long text, named a thousand times."""
    names = [f"f{n}.py" for n in range(1_000)]
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array(["x = 1\n" * 550_000]))
    good = pa.array([text(n) for n in range(GOOD)]).dictionary_encode()
    first = pa.table({"path": [f"good_{n}.py" for n in range(GOOD)], "content": good})
    with pq.ParquetWriter(path.with_suffix(".parquet"), first.schema, compression="zstd") as file:
        file.write_table(first)
        file.write_table(pa.table({"path": names, "content": texts}))


def page(path: Path) -> None:
    """A few kB of parquet: one text of 100 MB of the same letter."""
    good = [{"path": f"good_{n}.py", "content": text(n)} for n in range(GOOD)]
    schema = pa.schema({"path": pa.string(), "content": pa.string()})
    with pq.ParquetWriter(path.with_suffix(".parquet"), schema, compression="zstd", use_dictionary=False) as file:
        file.write_table(pa.Table.from_pylist(good, schema))
        file.write_table(pa.table({"path": ["big.py"], "content": ["x" * 100_000_000]}, schema))


SURROGATES: tuple[dict[str, Any], ...] = (
    {"path": "a\ud800.py", "content": text(20)},
    {"path": "b.py", "content": text(21) + "# \udfff\n", "license": "\ud800", "repo_name": "\udfff"},
)
ODD_ROWS: tuple[Any, ...] = (
    {"path": 5, "content": "x"}, {"path": "a.py", "content": ["x"]}, {"path": "a\0.py", "content": text(30)},
    {"path": "a" * 1_000_000 + ".py", "content": text(31)}, {"metadata": {"path": {}}, "content": "x = 1"},
    {"path": "b.py", "content": text(32), "license": {"a": [1] * 50}, "repo_id": [1]}, b"\xff\xfe\x00", b"", b"  ",
)  # fmt: skip


@pytest.mark.parametrize(
    ("make", "read", "said"),
    [
        (pipes, GOOD, ""),
        (stars, GOOD + 1, ""),
        (no_patterns, GOOD, ""),
        (deep_notebook, GOOD, "left out: no Python notebook"),
        (odd_names, GOOD + 4, ""),
        (deep_folders, GOOD, ""),
        (rows(*SURROGATES), GOOD + 2, ""),
        (rows(*ODD_ROWS), GOOD + 2, "left out: damaged row"),
        (rows(b'{"content":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), GOOD, "left out: damaged row"),
        (rows(b'{"content":' + b"9" * 10_000 + b"}"), GOOD, "left out: damaged row"),
        (long_line, GOOD + 1, "left out: row over 8 MB"),
        (dictionary, GOOD, "left out: over 1 MB"),
        (page, GOOD, "left out: row of a group that is packed over a hundredfold"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_command_reads_what_is_good_beside_it(
    make: Callable[[Path], None], read: int, said: str, tmp_path: Path
) -> None:
    make(tmp_path / "source")
    (source,) = tmp_path.iterdir()
    try:
        done = command(source)
    finally:
        subprocess.run(["rm", "-rf", source / "a"], check=True)  # too deep for Python's own rmtree
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert f" of {read} │" in shown, done.stdout
    assert said in shown
    assert int(shown.rpartition("VmHWM:")[2].split()[0]) < MOST_RESIDENT


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", "no usable source file"),
        ("a.parquet", b"", "cannot be read"),
        ("a.parquet", b"PAR1" + b"\xff" * 200 + b"PAR1", "cannot be read"),
        ("a.jsonl.gz", b'{"a":1}\n', "cannot be read"),
        ("a.jsonl.gz", gzip.compress(lines())[:-20], "cannot be read"),
        ("a.jsonl", lines().decode().encode("utf-16"), "is UTF-16: save it as UTF-8"),
        (
            "a.jsonl",
            b'{"body": "x = 1", "id": 5}\n' * 9,
            "its columns are body, id, and text is read from content, text",
        ),
        ("a.jsonl", b"[" * 1_000_000, "1 damaged row"),
    ],
)
def test_the_command_says_what_it_cannot_read(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    done = command(tmp_path / name)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert words in done.stderr


def test_rows_that_hold_no_more_than_text(tmp_path: Path) -> None:
    content = "\n\n".join(json.dumps({"text": text(n)}) for n in range(GOOD))
    (tmp_path / "code.jsonl").write_text(content + "\n \n")
    read = corpus.read([tmp_path / "code.jsonl"])
    assert [document.path for document in read.documents] == [f"row-{n}.py" for n in range(1, GOOD + 1)]
    assert read.dropped == {}


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"content": "x", "language": "Java"}, "row-3.java"),
        ({"content": "x", "lang": "c++"}, "row-3.cpp"),
        ({"content": "x", "lang": "py"}, "row-3.py"),
        ({"content": "package main\n\nfunc main() {}\n"}, "row-3.go"),
        ({"content": "#include <stdio.h>\nint main(void) { return 0; }\n"}, "row-3.c"),
        ({"content": "import { a } from './b'\nexport interface C { d: string }\n"}, "row-3.ts"),
        ({"content": "words"}, tables.NO_LANGUAGE),
        ({"content": "x", "language": "Klingon"}, tables.NO_LANGUAGE),
        ({"body": "x"}, tables.NO_TEXT),
        ({"content": 5, "path": "a.py"}, tables.CORRUPT),
    ],
)
def test_what_a_row_without_a_path_is_called(row: dict[str, Any], path: str) -> None:
    found = tables.file(row, 3)
    assert (found if isinstance(found, str) else found[0]) == path


def test_a_language_has_an_extension_of_its_own() -> None:
    for name in languages.EXTENSIONS:
        extension = languages.extension(name)
        assert extension is not None
        assert languages.language(f"a{extension}") == name


def test_rows_wait_by_their_bytes_not_only_by_their_number() -> None:
    raw = [reading.Raw(f"f{n}.py", "", content=bytes(1_000_000)) for n in range(9)]
    batches = list(reading._batches(raw))  # pyright: ignore[reportPrivateUsage]
    assert [len(batch) for batch in batches] == [4, 4, 1]


def test_what_is_left_out_is_named_on_request(tmp_path: Path) -> None:
    source = folder(tmp_path / "source")
    (source / "notes.md").write_text("words")
    (source / "copy.py").write_text(text(0))
    done = command(source, "--verbose")
    assert done.returncode == 0, done.stderr
    assert "left out, not source code: notes.md" in done.stdout
    assert "left out, duplicate: good_0.py" in done.stdout
    again = corpus.read([source])
    assert again.left_out == {"not source code": ("notes.md",), "duplicate": ("good_0.py",)}
    assert corpus.read([source]).left_out == again.left_out, "kept by the store too"


def test_rows_left_out_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "code.jsonl").write_bytes(lines(b"{broken", {"body": 1}))
    assert corpus.read([tmp_path / "code.jsonl"]).left_out == {
        "damaged row": ("row 7",),
        "row without text": ("row 8",),
    }


def test_more_text_than_memory_is_planned_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "MOST_CHARS", 3_000)
    with pytest.raises(SourceError, match="--max-files"):
        corpus.read([folder(tmp_path / "source")])


def test_a_notebook_with_half_a_surrogate_pair() -> None:
    cell = {"cell_type": "code", "source": ["x = '\ud800'\n"]}
    assert notebook.code(json.dumps({"cells": [cell]})) == "x = '?'\n"


PATTERNS = ("a", "b", "*", "?", "**", "[ab]", "/", "/", "/**/", ".", "\\*", "a*", "*b", "***")


def test_patterns_match_what_pathspec_matches() -> None:
    made = random.Random(0)
    for _ in range(4_000):
        words = [made.choice(PATTERNS) for _ in range(made.randint(1, 7))]
        pattern = made.choice(["", "", "!", "/"]) + "".join(words) + made.choice(["", "", "/"])
        try:
            expected = GitIgnoreSpec.from_lines([pattern])
        except ValueError:
            continue
        found = ignoring.parse(pattern, Path(".gitignore"))
        for _ in range(6):
            names = ("".join(made.choice("aab.") for _ in range(made.randint(1, 4))) for _ in range(made.randint(1, 6)))
            path = "/".join(names)
            assert found.check_file(path).include == expected.check_file(path).include, (pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 20 + "b", "a" * 250 + "c"),
        ("*" * 900 + "b", "a" * 4_000),
        ("*[!b]" * 15 + "c", "a" * 250),
        ("*[!b]/" * 30 + "c", "a/" * 2_000 + "b"),
        ("**/a/" * 14 + "b", "a/" * 2_000 + "c"),
        ("/**/*" * 14 + "/b", "a/" * 2_000 + "c"),
        ("**/*a*a*a*a*a*a/" * 60 + "b", ("a" * 250 + "/") * 16 + "c"),
    ],
)
def test_patterns_that_never_ended(pattern: str, path: str) -> None:
    """By pathspec alone each took longer than a minute."""
    script = "import sys; from pathlib import Path; from starling_server.files import ignoring\n"
    script += "print(ignoring.parse(sys.argv[1], Path('x')).match_file(sys.argv[2]))"
    done = subprocess.run(
        [sys.executable, "-c", script, pattern, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "False\n", done.stderr


def test_attributes_that_git_never_gets_done_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder(tmp_path / "source")
    deep = source.joinpath(*["a"] * 40)
    deep.mkdir(parents=True)
    (deep / "c.py").write_text(text(50))
    subprocess.run(["git", "init", "-q", source], check=True)
    subprocess.run(["git", "-C", source, "add", "."], check=True)
    (source / ".gitattributes").write_text("**/a/" * 12 + "b linguist-generated\n")
    monkeypatch.setattr(listing, "ATTRIBUTES_SECONDS", 2.0)
    with pytest.raises(SourceError, match=r"\.gitattributes"):
        listing.files(source)


def test_patterns_beyond_all_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder(tmp_path / "source")
    (source / ".gitignore").write_text("x\n" + "a" * 2_000)
    with pytest.raises(SourceError, match=r"Line 2 of .*\.gitignore has 2,000 characters"):
        listing.files(source)
    (source / ".gitignore").write_text("abc\n" * 200_000)
    with pytest.raises(SourceError, match="characters of patterns"):
        listing.files(source)
    monkeypatch.setattr(ignoring, "MOST_CHECKS", 20)
    (source / ".gitignore").write_text("abc\n" * 5)
    with pytest.raises(SourceError, match="too many patterns"):
        listing.files(source)
