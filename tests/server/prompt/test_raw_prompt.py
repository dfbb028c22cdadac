"""Raw FIM prompts that are too long: cut away from the cursor, with their sentinels."""

from dataclasses import replace

import pytest

from starling_server.backends.torch.loading import Loaded
from starling_server.prompt.raw_prompt import shorten

BEFORE = "".join(f"before_{n} = {n}\n" for n in range(400)) + "x ="
AFTER = "\n" + "".join(f"after_{n} = {n}\n" for n in range(400))
PSM = f"<fim_prefix>{BEFORE}<fim_suffix>{AFTER}<fim_middle>"
SPM = f"<fim_prefix><fim_suffix>{AFTER}<fim_middle>{BEFORE}"
SUFFIX_FIRST = f"<fim_suffix>{AFTER}<fim_prefix>{BEFORE}<fim_middle>"


def cut(tiny: Loaded, prompt: str, tokens: int) -> str | None:
    tokenizer = tiny.tokenizer
    ids = shorten(tokenizer.encode_marked(prompt), tokens, tiny.fim, tokenizer.encode_marked, tokenizer.decode)
    assert ids is None or tokens // 3 < len(ids) <= tokens
    return None if ids is None else tokenizer.decode(ids)


@pytest.mark.parametrize("prompt", [PSM, SPM, SUFFIX_FIRST])
def test_text_goes_where_it_is_farthest_from_the_cursor(tiny: Loaded, prompt: str) -> None:
    kept = cut(tiny, prompt, 300)
    assert kept is not None
    marks = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    assert sorted(marks, key=kept.index) == sorted(marks, key=prompt.index)
    before, after = ("<fim_middle>", "<fim_suffix>") if prompt is SPM else ("<fim_prefix>", "<fim_suffix>")
    before, after = (kept.split(mark)[1].split("<fim")[0] for mark in (before, after))
    assert before.startswith("before_")
    assert BEFORE.endswith("\n" + before)
    assert AFTER.startswith(after)
    assert after.endswith("\n")


def test_other_files_in_front_go_first(tiny: Loaded) -> None:
    kept = cut(tiny, "# another file\n" * 300 + "<fim_prefix>x = 1\ny =<fim_suffix>\n<fim_middle>", 200)
    assert kept is not None
    assert kept.startswith("# another file\n")
    assert kept.endswith("\n<fim_prefix>x = 1\ny =<fim_suffix>\n<fim_middle>")


@pytest.mark.parametrize("text", ["漢字を書く" * 400, "😀" * 400, "漢字\n" * 400])
def test_no_character_is_cut(tiny: Loaded, text: str) -> None:
    kept = cut(tiny, f"<fim_prefix>{text}<fim_suffix>{text}<fim_middle>", 100)
    assert kept is not None
    assert "\ufffd" not in kept


@pytest.mark.parametrize("prompt", ["x = 1\n" * 400, PSM.replace("<fim_middle>", ""), PSM + "<fim_middle>"])
def test_what_is_no_such_prompt_stays_as_it_is(tiny: Loaded, prompt: str) -> None:
    assert cut(tiny, prompt, 300) is None


def test_the_token_that_begins_a_prompt_stays(tiny: Loaded) -> None:
    tokenizer, fim = tiny.tokenizer, replace(tiny.fim, begin=tiny.fim.pad)
    ids = [tiny.fim.pad, *tokenizer.encode_marked(PSM)]
    kept = shorten(ids, 300, fim, tokenizer.encode_marked, tokenizer.decode)
    assert kept is not None
    assert len(kept) <= 300
    assert kept[:2] == ids[:2]
    assert kept[1:] == shorten(ids[1:], 299, tiny.fim, tokenizer.encode_marked, tokenizer.decode)
