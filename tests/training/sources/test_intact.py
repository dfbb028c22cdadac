"""Every middle of a whole epoch is learnt behind the very prompt that serving sends."""

from pathlib import Path

from starling_server.backends.torch.loading import Loaded
from starling_server.prompt import window
from starling_server.prompt.cursor import Cursor
from starling_training.config import DataConfig
from starling_training.examples.dataset import Writer, epoch_rows, example
from starling_training.sources import corpus

SERVER = Path(__file__).parents[3] / "server"


def test_every_middle_of_an_epoch_sees_its_whole_window(tiny: Loaded) -> None:
    documents = corpus.read([SERVER]).documents
    writer = Writer(tiny.tokenizer, tiny.fim, context_tokens=512, max_tokens=64)
    budget = window.budget(writer.context_tokens, writer.max_tokens, writer.fim.sentinels)
    checked = 0
    for row in epoch_rows(documents, writer, DataConfig(fim_rate=1.0), epoch=1):
        text = documents[row.document].text
        ids = example(row, text, writer).ids
        fitted = window.fit(Cursor.at(text[: row.start], text[row.end :]), budget, writer.tokenizer.encode)
        assert row.form != "plain"
        prompt = writer.fim.prompt(fitted.prefix, fitted.suffix, row.form)
        middle = writer.tokenizer.encode(fitted.held + text[row.start : row.end])
        assert ids == [*prompt, *middle, writer.fim.end]
        assert len(ids) <= writer.context_tokens
        checked += 1
    assert checked > 100
