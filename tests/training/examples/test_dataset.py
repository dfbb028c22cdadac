"""Examples begin with serving's prompt, see their whole window, and are never cut."""

from dataclasses import replace
from random import Random

import pytest

from starling_server.backends.torch.loading import Loaded
from starling_server.prompt import window
from starling_server.prompt.cursor import Cursor, hold_blanks
from starling_training.config import DataConfig
from starling_training.examples.dataset import (
    IGNORED,
    Row,
    Writer,
    epoch_rows,
    example,
    held_out_holes,
)
from starling_training.examples.spans import Hole, cut
from starling_training.fit.trainer import middle_set, training_set
from starling_training.sources.clean import Document

CONTEXT = 256


@pytest.fixture(scope="module")
def writer(tiny: Loaded) -> Writer:
    return Writer(tiny.tokenizer, tiny.fim, CONTEXT, 64)


@pytest.fixture(scope="module")
def documents(source: str) -> list[Document]:
    texts = [source, source[: len(source) // 2] + "# é 😀 <fim_middle>\n", "x = 1\nif x:\n    y = 2\n"]
    return [Document(f"{n}.py", text, str(n)) for n, text in enumerate(texts)]


def serving_prompt(writer: Writer, prefix: str, suffix: str) -> list[int]:
    """As `starling_server.completion.service` builds it."""
    cropped = window.fit(
        Cursor.at(prefix, suffix), window.budget(CONTEXT, 64, writer.fim.sentinels), writer.tokenizer.encode
    )
    return writer.fim.prompt(cropped.prefix, cropped.suffix)


def test_every_middle_follows_the_prompt_that_serving_sends(writer: Writer, documents: list[Document]) -> None:
    checked = 0
    for document in documents:
        for span in writer.draw(document, 150, Random(document.path)):
            hole = cut(document.text, span)
            made = writer.hole(hole, "spm")
            prompt = serving_prompt(writer, hole.prefix, hole.suffix)
            assert made.ids[: made.prompt_tokens] == prompt
            middle = made.ids[made.prompt_tokens :]
            assert middle[-1] == writer.fim.end
            assert len(middle) <= 64
            assert len(made.ids) <= CONTEXT
            _, held = hold_blanks(hole.prefix)
            assert writer.tokenizer.decode(middle[:-1]) == held + hole.middle
            checked += 1
    assert checked >= 400


def test_a_short_document_is_seen_whole(writer: Writer) -> None:
    encode, fim = writer.tokenizer.encode, writer.fim
    made = writer.hole(Hole("def f(a):\n    return ", "a", "\n", "line"), "spm")
    prompt = [fim.prefix, fim.suffix, *encode("\n"), fim.middle, *encode("def f(a):\n    return")]
    assert made.ids == [*prompt, *encode(" a"), fim.end]


def test_the_cursor_line_keeps_its_indent_for_the_middle(writer: Writer) -> None:
    made = writer.hole(Hole("if x:\n    ", "pass", "\n", "line"), "spm")
    assert writer.tokenizer.decode(made.ids[made.prompt_tokens : -1]) == "    pass"


def test_psm_is_the_same_text_in_the_other_order(writer: Writer) -> None:
    hole = Hole("a = 1\nb = ", "2", "\nc = 3\n", "line")
    spm, psm = writer.hole(hole, "spm"), writer.hole(hole, "psm")
    assert sorted(spm.ids) == sorted(psm.ids)
    assert psm.ids[psm.prompt_tokens - 1] == writer.fim.middle


def test_plain_text_ends_only_where_the_file_does(writer: Writer, source: str) -> None:
    whole, cropped = writer.plain("x = 1\n", 0), writer.plain(source, 0)
    assert whole.ids[-1] == writer.fim.end
    assert len(cropped.ids) == CONTEXT
    assert writer.fim.end not in cropped.ids
    assert source.startswith(writer.tokenizer.decode(cropped.ids))


def test_epochs_differ_and_repeat(writer: Writer, documents: list[Document]) -> None:
    config = DataConfig()
    first = epoch_rows(documents, writer, config, 0)
    assert first == epoch_rows(documents, writer, config, 0)
    assert first != epoch_rows(documents, writer, config, 1)
    assert first != epoch_rows(documents, writer, replace(config, seed=1), 0)
    assert {row.document for row in first} == {0, 1, 2}


@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0])
def test_a_weight_counts_for_small_files_too(writer: Writer, documents: list[Document], weight: float) -> None:
    small = [replace(documents[2], weight=weight)]
    epochs = 200
    count = sum(len(epoch_rows(small, writer, DataConfig(), epoch)) for epoch in range(epochs))
    assert count / epochs == pytest.approx(weight, rel=0.2)


def test_forms_come_as_often_as_asked(writer: Writer, documents: list[Document]) -> None:
    config = DataConfig(fim_rate=0.5, spm_rate=0.5)
    forms = [row.form for epoch in range(40) for row in epoch_rows(documents, writer, config, epoch)]
    assert 0.4 < forms.count("plain") / len(forms) < 0.6
    assert 0.15 < forms.count("spm") / len(forms) < 0.35


def test_a_row_is_made_into_ids_when_it_is_read(writer: Writer, documents: list[Document]) -> None:
    rows = epoch_rows(documents, writer, DataConfig(), 0)
    ready = training_set(rows, documents, writer, "all")
    assert len(ready) == len(rows)
    for number, row in enumerate(rows):
        made = example(row, documents[row.document].text, writer)
        weights = [1 / writer.context_tokens] * len(made.ids)
        assert ready[number] == {"input_ids": made.ids, "labels": made.ids, "weights": weights}


def test_labels_of_the_middle_alone(writer: Writer, documents: list[Document]) -> None:
    row = Row(2, 4, 5, "line", "spm")
    made = example(row, documents[2].text, writer)
    labels = training_set([row], documents, writer, "middle")[0]["labels"]
    assert labels == [IGNORED] * made.prompt_tokens + made.ids[made.prompt_tokens :]


def test_held_out_holes_are_the_same_every_time(writer: Writer, documents: list[Document]) -> None:
    holes = held_out_holes(documents, writer, 30, "judge:0")
    assert holes == held_out_holes(documents, writer, 30, "judge:0")
    assert holes != held_out_holes(documents, writer, 30, "watch:0")
    assert len(holes) == 30
    ready = middle_set([hole for _, hole in holes], writer)
    assert all(labels[0] == IGNORED and labels[-1] == writer.fim.end for labels in ready["labels"])
