"""Held-out files: whole, the same ones every time, and enough of them."""

import hashlib
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from starling_training.sources import corpus
from starling_training.sources.clean import Document
from starling_training.sources.split import MIN_HELD_OUT, apart, split


def document(path: str, size: int) -> Document:
    return Document(path, "x" * size, hashlib.sha256(path.encode()).hexdigest())


sizes = st.lists(st.integers(1, 5_000), min_size=5, max_size=60)


@given(sizes=sizes, share=st.floats(0.01, 0.5), seed=st.integers(0, 99))
def test_whole_files_on_one_side_each(sizes: list[int], share: float, seed: int) -> None:
    documents = [document(f"{n}.py", size) for n, size in enumerate(sizes)]
    parts = split(documents, share, seed)
    assert sorted(d.path for d in (*parts.train, *parts.held_out)) == sorted(d.path for d in documents)
    assert len(parts.held_out) >= MIN_HELD_OUT
    assert parts.train
    assert parts == split(documents, share, seed)


def test_about_the_share_that_was_asked_for() -> None:
    documents = [document(f"pkg/{n}.py", 500 + 37 * (n % 11)) for n in range(200)]
    held = sum(len(d.text) for d in split(documents, 0.1, 0).held_out)
    assert 0.1 <= held / sum(len(d.text) for d in documents) <= 0.12


def test_a_giant_file_is_not_held_out() -> None:
    documents = [document("giant.py", 100_000), *(document(f"{n}.py", 500) for n in range(20))]
    for seed in range(20):
        assert "giant.py" not in {d.path for d in split(documents, 0.1, seed).held_out}


def test_a_new_file_moves_few_others() -> None:
    documents = [document(f"pkg/{n}.py", 1000) for n in range(100)]
    before = {d.path for d in split(documents, 0.1, 0).held_out}
    after = {d.path for d in split([*documents, document("pkg/new.py", 1000)], 0.1, 0).held_out}
    assert len(before - after) <= 1


def test_the_seed_chooses() -> None:
    documents = [document(f"pkg/{n}.py", 1000) for n in range(100)]
    assert split(documents, 0.1, 0).held_out != split(documents, 0.1, 1).held_out


def test_the_newest_files_are_held_out() -> None:
    documents = [replace(document(f"{n}.py", 1000), changed=n) for n in range(20)]
    held = {d.path for d in split(documents, 0.1, 0).held_out}
    assert held == {"18.py", "19.py"}


def test_without_history_whole_folders_are_held_out() -> None:
    documents = [document(f"pkg{n // 4}/{n}.py", 1000) for n in range(80)]
    for seed in range(5):
        held = [d.path for d in split(documents, 0.1, seed).held_out]
        assert len(held) == 8
        assert len({path.partition("/")[0] for path in held}) == 2


def test_near_copies_never_stand_on_both_sides(tmp_path: Path) -> None:
    body = "".join(f"def step_{n}(value):\n    return value * {n}\n" for n in range(40))
    for number in range(12):
        own = "".join(f"def walk_{number}_{n}(left):\n    return left - {n * number}\n" for n in range(40))
        (tmp_path / f"own_{number}.py").write_text(own)
    for number in range(6):
        (tmp_path / f"copy_{number}.py").write_text(body.replace("step_7(", f"renamed_{number}("))
    read = corpus.read([tmp_path])
    for seed in range(8):
        parts = apart(split(read.documents, 0.2, seed), read)
        held = any(d.path.startswith("copy") for d in parts.held_out)
        left = sum(d.path.startswith("copy") for d in parts.train)
        assert left == (0 if held else 1)
        assert parts.near_duplicates >= 5 - sum(d.path.startswith("copy") for d in parts.held_out)
