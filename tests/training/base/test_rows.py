"""Rows that the base learns from: full, their text unharmed, their prompts those that are served."""

import pytest
from torch import Tensor

from starling_server.backends.torch.loading import Loaded
from starling_training.base import rows as rows_module
from starling_training.base.rows import Rows
from starling_training.base.stream import Stream
from starling_training.examples.dataset import IGNORED


def learnt(row: tuple[Tensor, Tensor]) -> list[int]:
    ids, labels = row
    kept = [i for i, label in zip(ids.tolist(), labels.tolist(), strict=True) if label != IGNORED]
    assert kept == ids.tolist()[: len(kept)]
    return kept


@pytest.mark.parametrize("length", [256, 1024])
def test_rows_are_nearly_full_and_repeatable(tiny: Loaded, made: Stream, length: int) -> None:
    rows = Rows(made, tiny.tokenizer, tiny.fim, length, seed=0)
    kept = [len(learnt(rows[position])) for position in range(0, made.tokens - length, length)]
    assert max(kept) <= length
    assert sum(kept) > 0.93 * length * len(kept)
    assert rows[length][0].tolist() == rows[length][0].tolist()


def test_an_example_is_a_served_prompt_and_its_middle(
    tiny: Loaded, made: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "ALONE_RATE", 0.0)
    rows = Rows(made, tiny.tokenizer, tiny.fim, 256, seed=0)
    checked = 0
    for position in range(0, made.tokens - 256, 256):
        ids, stretch = learnt(rows[position]), made.read(position, 256).tolist()
        if ids[:2] != [tiny.fim.prefix, tiny.fim.suffix] or tiny.fim.end in stretch:
            continue
        at = ids.index(tiny.fim.middle)
        original = tiny.tokenizer.decode(stretch).strip("\ufffd")
        suffix, before = (tiny.tokenizer.decode(part).strip("\ufffd") for part in (ids[2:at], ids[at + 1 : -1]))
        assert ids[-1] == tiny.fim.end
        assert before in original
        assert original.index(before) + len(before) + len(suffix) <= len(original)
        assert suffix in original
        checked += 1
    assert checked > 20


def test_most_parts_get_a_hole_and_most_of_those_suffix_first(tiny: Loaded, made: Stream) -> None:
    rows = Rows(made, tiny.tokenizer, tiny.fim, 256, seed=0)
    heads = [learnt(rows[position])[:2] for position in range(0, made.tokens - 256, 64)]
    holes = [head for head in heads if head[0] == tiny.fim.prefix]
    suffix_first = [head for head in holes if head[1] == tiny.fim.suffix]
    assert 0.8 < len(holes) / len(heads) < 0.97
    assert 0.7 < len(suffix_first) / len(holes) < 0.9


def test_definitions_learnt_alone_are_whole_prompts(
    tiny: Loaded, made: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "ALONE_RATE", 1.0)
    rows = Rows(made, tiny.tokenizer, tiny.fim, 512, seed=0)
    suffixes, bare = 0, 0
    for position in range(0, made.tokens - 512, 512):
        original = tiny.tokenizer.decode(made.read(position, 512).tolist())
        for example in examples(learnt(rows[position]), tiny.fim.end):
            if example[:2] != [tiny.fim.prefix, tiny.fim.suffix]:
                continue
            at = example.index(tiny.fim.middle)
            suffix, written = (
                tiny.tokenizer.decode(part).strip("\ufffd") for part in (example[2:at], example[at + 1 :])
            )
            assert written + suffix in original
            assert "\n\n\n" not in (written + suffix).strip("\n")
            suffixes, bare = suffixes + 1, bare + (not suffix)
    assert suffixes > 50
    assert 0.4 < bare / suffixes < 0.8


def examples(ids: list[int], end: int) -> list[list[int]]:
    """The whole examples of a row, without their ends: what its length cut off is left out."""
    ends = [at for at, i in enumerate(ids) if i == end]
    return [ids[start + 1 : stop] for start, stop in zip([-1, *ends], ends, strict=False)]
