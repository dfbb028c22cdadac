"""One index, changed file by file, against one that is built afresh; what it leaves out; what it keeps on disk."""

import math
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from server.files.secret_lines import SECRETS

from starling_server.context import store
from starling_server.context.chunks import chunks
from starling_server.context.index import Index
from starling_server.context.lexical import K1, B, Postings, terms
from starling_server.context.workspace import Workspace
from starling_server.files.content import Unwanted
from starling_server.postprocess.parser_client import client

WORDS = [f"word{letter}_{number}" for letter in "abcdefgh" for number in range(40)]


@pytest.fixture(autouse=True, scope="module")
def rested() -> Generator[None]:
    yield
    client("index").rest()


def source(seed: int, lines: int = 60) -> str:
    """A file of calls of random names."""
    words = random.Random(seed)
    head = f"def made_{seed}(value):\n"
    return head + "".join(f"    {words.choice(WORDS)}({words.choice(WORDS)})\n" for _ in range(lines))


def answers(index: Index) -> object:
    found = [[(hit.path, hit.text, hit.score) for hit in index.search(source(seed, 8), 5)] for seed in range(900, 910)]
    return list(index), found, [index.defining(f"made_{seed}") for seed in range(30)], index.modules("f3")


def test_changes_in_any_order_give_what_a_fresh_index_gives() -> None:
    changed, fresh = Index(), Index()
    for number in range(30):
        changed.put(f"a/f{number}.py", source(100 + number).encode())
    for number in random.Random(3).sample(range(30), 30):
        changed.put(f"a/f{number}.py", source(number).encode())
    changed.put("a/gone.py", source(77).encode())
    changed.remove("a/gone.py")
    changed.rename("a/f3.py", "b/f3.py")
    changed.put("a/f4.py", source(4).encode())
    for number in range(30):
        fresh.put(f"{'b' if number == 3 else 'a'}/f{number}.py", source(number).encode())
    assert answers(changed) == answers(fresh)
    assert changed.chars == fresh.chars
    changed._compact()  # pyright: ignore[reportPrivateUsage]
    assert answers(changed) == answers(fresh)


def test_scores_are_those_of_the_formula() -> None:
    texts = [part for seed in range(40) for part in chunks(source(seed))]
    postings = Postings()
    postings.add(texts)
    query = list(dict.fromkeys(terms(source(999, 6))))[:20]
    counted = [Counter(terms(text)) for text in texts]
    mean = sum(sum(each.values()) for each in counted) / len(texts)

    def score(words: Counter[str]) -> float:
        total = 0.0
        for term in query:
            holding = sum(term in each for each in counted)
            if 0 < holding <= 500 and words[term]:
                idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
                norm = K1 * (1 - B + B * sum(words.values()) / mean)
                total += idf * words[term] * (K1 + 1) / (words[term] + norm)
        return total

    expected = sorted((round(score(words), 6) for words in counted), reverse=True)[:7]
    found = sorted((hit.score for hit in postings.search(query, 7)), reverse=True)[:7]
    assert found == pytest.approx(expected, abs=2e-6)
    assert expected[6] > 0


def test_secrets_are_redacted() -> None:
    lines = [(template.format(*values), values) for _, template, values in SECRETS[:30]]
    index = Index()
    index.put("a.py", "".join(f"def f{n}():\n    pass\n\n{line}\n" for n, (line, _) in enumerate(lines)).encode())
    entry = index.entry("a.py")
    assert entry is not None
    kept = "\n".join([*entry.chunks, *(each.signature for each in entry.outline.definitions)])
    assert not [value for _, values in lines for value in values if value in kept]
    assert kept.count("REDACTED_") >= len(lines)


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        (".env", b"A=1\n", "secret file"),
        ("node_modules/a.js", b"var a = 1;\n", "vendored folder"),
        ("a_pb2.py", b"a = 1\n", "generated file"),
        ("notes.md", b"# Notes\n", "not source code"),
        ("a.py", b"\0", "binary"),
        ("a.py", b"# @generated\na = 1\n", "generated file"),
        ("a.py", b"a = 1\n" * 200_000, "over 1 MB"),
    ],
)
def test_what_training_ignores_is_ignored(path: str, content: bytes, reason: str) -> None:
    index = Index()
    index.put("a.py", b"a = 1\n")
    with pytest.raises(Unwanted, match=reason):
        index.put(path, content)
    assert index.entry(path) is None


def test_a_workspace_follows_its_files(tmp_path: Path) -> None:
    folder, cache = tmp_path / "work", tmp_path / "cache"
    (folder / "pkg").mkdir(parents=True)
    (folder / ".gitignore").write_text("ignored.py\n")
    for name in ("one", "two", "ignored"):
        (folder / "pkg" / f"{name}.py").write_text(f"def made_by_{name}():\n    pass\n")
    if sys.platform == "linux":
        (folder / os.fsdecode(b"pkg/\xff.py")).write_text("no_text = 1\n")
    first = Workspace(folder, cache)
    first.start()
    assert first.ready(60)
    assert list(first.index) == ["pkg/one.py", "pkg/two.py"]
    assert first.index.defining("made_by_one") == ("pkg/one.py",)

    (folder / "pkg" / "one.py").rename(folder / "pkg" / "three.py")
    (folder / "pkg" / "two.py").write_text("def made_anew():\n    pass\n")
    first.update("pkg/two.py")
    assert first.index.defining("made_anew") == ("pkg/two.py",)
    first.close()
    second = Workspace(folder, cache)
    second.load()
    assert list(second.index) == ["pkg/one.py", "pkg/two.py"], "as it was saved"
    second.refresh()
    assert list(second.index) == ["pkg/three.py", "pkg/two.py"]
    assert second.index.defining("made_by_one") == ("pkg/three.py",)
    (folder / "pkg" / "two.py").unlink()
    second.update("pkg/two.py")
    assert list(second.index) == ["pkg/three.py"]
    assert second.index.below("pkg") == ["pkg/three.py"]
    assert second.update("pkg/\ud800.py"), "an editor's name that no file has"
    shutil.rmtree(folder / "pkg")
    second.update("pkg")
    assert list(second.index) == second.index.below("pkg") == []


def test_a_damaged_index_is_built_again(tmp_path: Path) -> None:
    index, path = Index(), tmp_path / "cache" / "an.index"
    for number in range(5):
        index.put(f"f{number}.py", source(number).encode())
    store.save(index, path)
    assert [file.name for file in path.parent.iterdir()] == ["an.index"], "no temporary file is left"
    assert path.stat().st_mode & 0o077 == 0
    loaded = store.load(path)
    assert loaded is not None
    assert answers(loaded) == answers(index)
    loaded.put("f1.py", source(50).encode())
    index.put("f1.py", source(50).encode())
    assert answers(loaded) == answers(index)
    content = path.read_bytes()
    for damaged in (content[:-10], content[:300] + b"?" + content[301:], b"", b"starling-index 1 2\nx"):
        path.write_bytes(damaged)
        assert store.load(path) is None
    assert store.load(tmp_path / "missing") is None


def test_indexes_that_nobody_uses_are_removed(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.py").write_text("a = 1\n")
    first = Workspace(tmp_path / "work", tmp_path / "cache")
    first.refresh()
    (own,) = (tmp_path / "cache").iterdir()
    old = own.with_name("old.index")
    for path in (own, old):
        path.write_bytes(own.read_bytes())
        os.utime(path, (0, 0))
    second = Workspace(tmp_path / "work", tmp_path / "cache")
    second.load()
    assert list(second.index) == ["a.py"]
    assert list((tmp_path / "cache").iterdir()) == [own]
