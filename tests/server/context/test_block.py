"""The block in each family's form, cut to its tokens."""

from dataclasses import dataclass, replace

import pytest

from starling_server.backends.torch.loading import Loaded
from starling_server.context import block
from starling_server.models.families.table import FAMILIES
from starling_server.models.manifest import FimRecord
from starling_server.prompt.fim import Fim


@dataclass(frozen=True, slots=True)
class Other:
    path: str
    text: str


PIECES = (Other("a/first.py", "def first():\n    return 1\n"), Other("b.js", "\r\nlet b = 2;\r\nlet c = 3;\r\n"))


def shown(tiny: Loaded, pieces: tuple[Other, ...], tokens: int, fim: Fim) -> str:
    ids = block.fit(pieces, tokens, fim, tiny.tokenizer.encode)
    assert len(ids) <= tokens
    return tiny.tokenizer.decode(ids)


def test_a_family_with_repositories_gets_its_own_form(tiny: Loaded) -> None:
    """The most important piece ends the block."""
    spelled = {name: tiny.tokenizer.special_id(name) for name in ("<reponame>", "<filename>")}
    assert (tiny.fim.repository, tiny.fim.file) == tuple(spelled.values())
    expected = (
        "<reponame><filename>b.js\nlet b = 2;\nlet c = 3;\n<filename>a/first.py\ndef first():\n    return 1\n<filename>"
    )
    assert shown(tiny, PIECES, 200, tiny.fim) == expected


def test_a_family_without_gets_comments(tiny: Loaded) -> None:
    plain = replace(tiny.fim, repository=None, file=None)
    expected = "// b.js\n// let b = 2;\n// let c = 3;\n# a/first.py\n# def first():\n#     return 1\n"
    assert shown(tiny, PIECES, 200, plain) == expected


def test_the_first_piece_that_does_not_fit_is_cut_at_a_line(tiny: Loaded) -> None:
    long = Other("long.py", "".join(f"value_{n} = {n}\n" for n in range(500)))
    text = shown(tiny, (PIECES[0], long, PIECES[1]), 80, tiny.fim)
    assert text.startswith("<reponame><filename>long.py\nvalue_0 = 0\n")
    assert text.endswith("<filename>a/first.py\ndef first():\n    return 1\n<filename>")
    assert "b.js" not in text
    kept = text.split("<filename>")[1].splitlines()
    assert kept[1:] == [f"value_{n} = {n}" for n in range(len(kept) - 1)]


def test_nothing_follows_a_piece_that_is_cut(tiny: Loaded) -> None:
    """Not even what would fit into the rest."""
    long = Other("long.py", "a = 1\n" + "b" * 4000 + "\n")
    text = shown(tiny, (long, Other("b.js", "c\n")), 60, tiny.fim)
    assert text == "<reponame><filename>long.py\na = 1\n<filename>"


@pytest.mark.parametrize("tokens", [0, 1, 2, 5])
def test_no_room_is_no_block(tiny: Loaded, tokens: int) -> None:
    assert shown(tiny, PIECES, tokens, tiny.fim) == ""
    assert shown(tiny, (), 100, tiny.fim) == ""


def test_sentinels_in_its_text_are_text(tiny: Loaded) -> None:
    other = Other("<filename>x\n.py", "<fim_middle><|endoftext|>\nx = 1\n")
    ids = block.fit((other,), 200, tiny.fim, tiny.tokenizer.encode)
    assert ids.count(tiny.fim.file or -1) == 2
    assert not {tiny.fim.middle, tiny.fim.end} & set(ids)


def test_it_stands_behind_the_token_that_begins_a_prompt(tiny: Loaded) -> None:
    begun = replace(tiny.fim, begin=tiny.fim.pad, psm=(tiny.fim.pad, *tiny.fim.psm), spm=(tiny.fim.pad, *tiny.fim.spm))
    for order in ("psm", "spm"):
        without = begun.prompt([20], [21], order)
        assert begun.prompt([20], [21], order, others=[8, 9]) == [without[0], 8, 9, *without[1:]]
        assert tiny.fim.prompt([20], [21], order, others=[8, 9]) == [8, 9, *tiny.fim.prompt([20], [21], order)]


def test_a_repository_s_name_ends_as_the_family_has_learnt(tiny: Loaded) -> None:
    lines = replace(tiny.fim, repository_end="\n")
    assert shown(tiny, PIECES[:1], 200, lines).startswith("<reponame>\n<filename>a/first.py\n")


def test_a_block_goes_to_what_has_learnt_it(tiny: Loaded) -> None:
    """A setting goes first, then the adapter's budget, then what the base's family has learnt."""
    with_files, trained = replace(tiny.fim, reads_files=True), FimRecord.of(tiny.fim, 512, 64, 100)
    plain = FimRecord.of(tiny.fim, 512, 64)
    assert [block.limit(None, tiny.fim, record) for record in (None, plain, trained)] == [0, 0, 100]
    assert [block.limit(None, with_files, record) for record in (None, plain, trained)] == [512, 512, 100]
    assert [block.limit(asked, with_files, trained) for asked in (0, 64, 900)] == [0, 64, 900]


def test_families_that_have_learnt_other_files_have_a_token_for_them() -> None:
    learnt = [(row.model_type, each) for row in FAMILIES.values() for each in row.spellings if each.reads_files]
    assert [name for name, _ in learnt] == ["starcoder2", "qwen2", "llama"]
    assert all(each.file for _, each in learnt)
