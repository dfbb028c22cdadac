"""Near duplicates: found whatever a little editing hides, and nothing else."""

import numpy as np

from starling_training.sources import dedup

LONG = "\n".join(f"def step_{n}(value, other):\n    total = value * {n} + other\n    return total" for n in range(40))
OTHER = "\n".join(f"class Shape{n}:\n    sides: int = {n}\n    name = 'shape {n * 7}'" for n in range(40))


def near_duplicates(texts: list[str], kept: list[str] | None = None) -> set[int]:
    """Numbers of those of `texts` that come near one of `kept` or an earlier one."""
    before = kept or []
    signatures = np.array([dedup.signature(text) for text in (*before, *texts)], np.uint32)
    found = dedup.near_duplicates(signatures.reshape(-1, dedup.PERMUTATIONS), len(before))
    return {number - len(before) for number in found}


def test_an_edited_copy_is_found_and_the_first_is_kept() -> None:
    edited = LONG.replace("step_7(", "renamed(").replace("value * 11", "value * 12")
    assert near_duplicates([LONG, OTHER, edited]) == {2}


def test_layout_does_not_hide_a_copy() -> None:
    assert near_duplicates([LONG, LONG.replace("    ", "\t").replace("\n", "\r\n")]) == {1}


def test_what_comes_near_a_kept_text_goes() -> None:
    assert near_duplicates([OTHER, LONG], kept=[LONG + "\nprint(1)\n"]) == {1}


def test_kept_texts_may_be_alike() -> None:
    assert near_duplicates([OTHER], kept=[LONG, LONG]) == set()


def test_different_files_of_one_style_stay() -> None:
    other = LONG.replace("step", "walk").replace("total", "length").replace("value", "left")
    assert near_duplicates([LONG, other]) == set()


def test_short_and_empty_texts() -> None:
    assert near_duplicates(["", "x = 1\n", "y = 2\n"]) == set()
    assert near_duplicates([]) == set()
