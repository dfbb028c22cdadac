"""Other files in examples: what training's prompts hold is what serving's hold for the same place."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from support import adapter

from starling_server.backends.torch.loading import Loaded
from starling_server.completion.service import Service
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.context.choice import Chooser, Place
from starling_server.context.leaks import leaks
from starling_server.context.wire import carried
from starling_server.context.workspace import Workspace
from starling_server.engine.engine import Job
from starling_server.models import adapters, bases
from starling_server.postprocess.parser_client import client
from starling_server.schema import CompleteRequest
from starling_server.serve.start import start
from starling_training.config import DataConfig
from starling_training.examples.dataset import Writer, epoch_rows, example
from starling_training.examples.others import Others
from starling_training.examples.spans import Hole, Span, cut
from starling_training.fit.trainer import middle_set, training_set
from starling_training.sources import corpus
from starling_training.sources.clean import Document

TOKENS = 96
CALLER = """from shop.money import Money, rounded


def total_{n}(prices, tax):
    amount = Money(sum(prices))
    rest_{n} = amount.share(tax, {n})
    return rounded(amount, rest_{n} + {n})


def receipt_{n}(order):
    lines = [line.text for line in order.lines_of_{n}]
    return "\\n".join(lines)
"""
FILES = {
    "shop/money.py": 'class Money:\n    """An amount in one currency."""\n\n'
    "    def share(self, tax, digits):\n        return self.amount * tax\n\n\n"
    "def rounded(amount, rest):\n    # Rounds half to even.\n    return round(amount, rest)\n" * 1,
    **{f"shop/caller_{n}.py": CALLER.format(n=n) * 6 for n in range(6)},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        (tmp_path / "shop").mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture(autouse=True)
def rested() -> Generator[None]:
    yield
    client("index").rest()


def hole_at(document: Document, before: str, middle: str) -> Hole:
    at = document.text.index(before + middle) + len(before)
    return cut(document.text, Span(at, at + len(middle), "line"))


def prompts(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The prompts that the engine gets from now on."""
    seen, engine = list[list[int]](), service.backend.engine
    generate = engine.generate

    def watched(job: Job):
        seen.append(job.prompt)
        return generate(job)

    monkeypatch.setattr(engine, "generate", watched)
    return seen


async def test_the_training_prompt_is_the_serving_prompt(
    folder: Path, tiny: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the folder on both sides: corpus and writer; index, request and adapter."""
    documents = {each.path: each for each in corpus.read([folder]).documents}
    learnt = list(documents.values())
    writer = Writer(tiny.tokenizer, tiny.fim, 512, 64, TOKENS)
    others = Others(learnt, [], TOKENS)
    adapter.write(adapters.home() / "learnt", bases.find("tiny"), repository_tokens=TOKENS)
    workspace = Workspace(folder)
    workspace.refresh()
    chooser = Chooser(workspace.index)
    service = start(ModelConfig(base="tiny"), ServiceConfig(prefetch=False), [adapters.find("learnt")])
    seen = prompts(service, monkeypatch)
    for path in ("shop/caller_1.py", "shop/caller_4.py"):
        hole = hole_at(documents[path], "    return rounded(amount, ", f"rest_{path[-4]} + {path[-4]})")
        made = writer.hole(hole, others=others.of(hole))
        pieces = chooser.pieces(Place(path, hole.prefix, hole.suffix), TOKENS)
        request = CompleteRequest(prefix=hole.prefix, suffix=hole.suffix, context=carried(pieces), adapter="learnt")
        await service.complete(request)
        assert made.ids[: made.prompt_tokens] == seen.pop()
        assert "def rounded(amount, rest):" in tiny.tokenizer.decode(made.ids[: made.prompt_tokens])
        assert writer.hole(hole).ids != made.ids
    service.close()


def test_a_held_out_file_sees_the_learnt_ones_and_itself_only_as_its_own(folder: Path) -> None:
    documents = {each.path: each for each in corpus.read([folder]).documents}
    held_out = [documents.pop("shop/caller_1.py"), documents.pop("shop/caller_2.py")]
    others = Others(list(documents.values()), held_out, 512)
    for document in held_out:
        hole = hole_at(document, "    amount = ", "Money(sum(prices))")
        found = others.of(hole)
        assert {piece.path for piece in found} & {each.path for each in held_out} == set()
        assert "shop/money.py" in {piece.path for piece in found}
        assert not any(leaks(piece, hole.middle) for piece in found)
    assert others.of(Hole("no ", "such", " text", "line")) == ()


def test_what_gives_the_middle_away_is_left_out(folder: Path) -> None:
    documents = corpus.read([folder]).documents
    caller = next(document for document in documents if document.path == "shop/caller_3.py")
    hole = hole_at(caller, "def receipt_3(order):\n    ", "lines = [line.text for line in order.lines_of_3]")
    with_it = hole_at(caller, "    ", 'return "\\n".join(lines)')
    assert not any("line.text for line in" in piece.text for piece in Others(documents, [], 512).of(hole))
    assert any("line.text for line in" in piece.text for piece in Others(documents, [], 512, "bm25").of(hole)) is False
    assert Others(documents, [], 512, "bm25").of(with_it) == ()
    assert {piece.why for piece in Others(documents, [], 512, "definitions").of(with_it)} <= {"import", "name"}
    assert Others(documents, [], 512, "off").of(with_it) == ()


def test_repositories_do_not_see_each_other(folder: Path) -> None:
    documents = [replace(each, repository=name) for name in "ab" for each in corpus.read([folder]).documents]
    mixed = [each for each in documents if (each.repository == "a") == (each.path != "shop/money.py")]
    others = Others(mixed, [], 512)
    caller = next(each for each in mixed if each.path == "shop/caller_1.py")
    assert "shop/money.py" not in {
        piece.path for piece in others.of(hole_at(caller, "    amount = ", "Money(sum(prices))"))
    }


def test_a_share_of_the_examples_goes_without(folder: Path, tiny: Loaded) -> None:
    documents = corpus.read([folder]).documents
    config, others = DataConfig(repository_tokens=TOKENS), Others(documents, [], TOKENS)
    writer = Writer(tiny.tokenizer, tiny.fim, 256, 64, TOKENS)
    rows = [row for epoch in range(30) for row in epoch_rows(documents, writer, config, epoch)]
    holes = [row for row in rows if row.form != "plain"]
    assert not any(row.others for row in rows if row.form == "plain")
    assert 0.6 < sum(row.others for row in holes) / len(holes) < 0.8
    file = tiny.fim.file
    for row in Random(0).sample(holes, 40):
        made = example(row, documents[row.document].text, writer, others)
        assert len(made.ids) <= 256
        assert row.others or file not in made.ids
    assert any(file in example(row, documents[row.document].text, writer, others).ids for row in holes[:40])
    plain = Writer(tiny.tokenizer, tiny.fim, 256, 64)
    assert not any(row.others for row in epoch_rows(documents, plain, DataConfig(), 0))


def test_datasets_hold_them(folder: Path, tiny: Loaded) -> None:
    documents = corpus.read([folder]).documents
    others, writer = Others(documents, [], TOKENS), Writer(tiny.tokenizer, tiny.fim, 256, 64, TOKENS)
    rows = epoch_rows(documents, writer, DataConfig(repository_tokens=TOKENS), 0)
    made = training_set(rows, documents, writer, "middle", others)
    assert [made[number]["input_ids"] for number in range(len(rows))] == [
        example(row, documents[row.document].text, writer, others).ids for row in rows
    ]
    hole = hole_at(documents[0], "    amount = ", "Money(sum(prices))")
    assert middle_set([hole], writer, others)[0]["input_ids"] == writer.hole(hole, others=others.of(hole)).ids
