"""The value of each suggestion filter: how often it fires, and whether it makes answers better or worse.

    python benchmarks/filters.py PATH... [--base tiny] [--holes 600] [--seed 0] [--answers FILE]

The model answers once per hole, without rules or filters, up to 64 tokens. Each answer is then replayed through all
rules and filters used in serving, and once more without each stop rule and each filter. The texts that would be
inserted are compared with the true middle. A filter *fired* if leaving it out changes the inserted text. It *won* if
the text equals the middle only with it, and *lost* if only without it. PATHs are folders or files of Python source that
the base was not trained on (training/starling_training/base/held_out.txt names packages).
"""

import argparse
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import ours
from rapidfuzz.distance import Levenshtein
from report import last_line, machine, show

from starling_server.config import RULES, Rule, ServiceConfig
from starling_server.engine.backend import Backend
from starling_server.engine.engine import Engine, Job
from starling_server.engine.protocols import GREEDY
from starling_server.postprocess import stops
from starling_server.postprocess.completion_scope import Extent, decide
from starling_server.postprocess.filters import FILTERS, trim
from starling_server.prompt import window
from starling_server.prompt.cursor import Cursor
from starling_training.examples.spans import Hole, cut, draw
from starling_training.sources import corpus

TOKENS, LONGEST = 64, 200
LANGUAGE = "python"
LEFT_OUT: dict[str, frozenset[str]] = {
    **{name: frozenset({name}) for name in (*(f"stop {rule}" for rule in RULES), *FILTERS, "inside-word", "extent")},
    "stop suffix, following": frozenset({"stop suffix", "following"}),
    "stop bracket, closers, overlap": frozenset({"stop bracket", "closers", "overlap"}),
    "stop repeat, run, repetition, loop": frozenset({"stop repeat", "run", "repetition", "loop"}),
}
"""Rules and filters left out together, by name: each alone, and those with the same effect during and after decoding.

`inside-word` is the rule against suggestions inside a word; `extent` limits a suggestion to one line or a block.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's output at a hole."""

    hole: Hole
    text: str
    ended: bool
    """Ended by the model, not by the token limit."""


def holes(paths: Sequence[Path], count: int, seed: int) -> Iterator[Hole]:
    """Holes in the files, drawn as for training; longer files have more."""
    documents = corpus.read(paths).documents
    random = Random(seed)
    weights = [len(document.text) for document in documents]
    for document in random.choices(documents, weights, k=count):
        for span in draw(document.text, 1, random, lambda span: span.length <= LONGEST, "Python"):
            yield cut(document.text, span)


def ask(backend: Backend, hole: Hole) -> Answer:
    """The model's unfiltered output."""
    context = min(ServiceConfig().context_tokens, backend.engine.runner.context)
    budget = window.budget(context, TOKENS, backend.fim.sentinels)
    fitted = window.fit(Cursor.at(hole.prefix, hole.suffix), budget, backend.tokenizer.encode)
    prompt = backend.fim.prompt(fitted.prefix, fitted.suffix)
    job = Job(prompt, TOKENS, backend.fim.stops, GREEDY)
    assert isinstance(backend.engine, Engine)
    generation = backend.engine.generate(job)
    ids = list[int]()
    while (token := backend.engine.run(generation.next())) is not None:
        ids.append(token)
    generation.close()
    return Answer(hole, backend.tokenizer.decode(ids), generation.finish == "stop")


def known(kept: Path | None, drawn: Sequence[Hole]) -> list[Answer]:
    """Answers of an earlier run with the same holes, possibly incomplete."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept and kept.is_file() else []
    return [Answer(hole, *json.loads(line)) for hole, line in zip(drawn, lines, strict=False)]


def keep(kept: Path | None, answer: Answer) -> None:
    """Append an answer to the file; its text is enough, since the same PATHs and seed draw the same holes."""
    if kept is not None:
        with kept.open("a", encoding="utf-8") as file:
            print(json.dumps([answer.text, answer.ended]), file=file)


def inserted(answer: Answer, without: Collection[str] = ()) -> str:
    """The text to insert, without some of the rules and filters."""
    hole = answer.hole
    cursor = Cursor.at(hole.prefix, hole.suffix)
    extent = decide(cursor, LANGUAGE)
    if extent == "nothing":
        if "inside-word" not in without:
            return ""
        extent = "line"
    on: list[Rule] = [rule for rule in RULES if f"stop {rule}" not in without]
    rules = stops.rules(extent, cursor, on)["extent" in without :]
    fired = next(
        (each for size in range(len(answer.text) + 1) if (each := stops.first(rules, answer.text[:size]))), None
    )
    whole = answer.text[: fired[0]] if fired else complete(answer)
    return trim(whole, cursor, without)


def complete(answer: Answer) -> str:
    """The complete lines of an answer that reached the token limit, as kept by the service."""
    if answer.ended or "\n" not in answer.text.strip():
        return answer.text
    return answer.text[: answer.text.rindex("\n")]


def expected(hole: Hole) -> str:
    """The expected text: the middle up to the end of the extent, unfiltered."""
    cursor = Cursor.at(hole.prefix, hole.suffix)
    extent: Extent = decide(cursor, LANGUAGE)
    if extent == "nothing":
        return hole.middle.rstrip()
    text = cursor.held + hole.middle
    fired = stops.first(stops.rules(extent, cursor, ()), text)
    return (text[: fired[0]] if fired else text)[len(text) - len(hole.middle) :].rstrip()


def judge(answers: Sequence[Answer], without: Collection[str]) -> dict[str, int]:
    """Effect of the rules and filters in `without`, as counts of answers."""
    fired = won = lost = nearer = farther = 0
    for answer in answers:
        on, off, truth = inserted(answer), inserted(answer, without), expected(answer.hole)
        gain = Levenshtein.normalized_similarity(on, truth) - Levenshtein.normalized_similarity(off, truth)
        fired += on != off
        won += on == truth != off
        lost += off == truth != on
        nearer += gain > 0
        farther += gain < 0
    return {"fired": fired, "won": won, "lost": lost, "nearer": nearer, "farther": farther}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--holes", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answers", type=Path, help="keep the model's answers here, and go on from those that are")
    asked = parser.parse_args()
    drawn = list(holes(asked.paths, asked.holes, asked.seed))
    answers = known(asked.answers, drawn)
    if len(answers) < len(drawn):
        service = ours.service(ours.model(asked.base, "torch"))
        for hole in drawn[len(answers) :]:
            answers.append(ask(service.backend, hole))
            keep(asked.answers, answers[-1])
            print(f"\r{len(answers)} holes", end="", file=sys.stderr)
        service.close()
    exact = sum(inserted(answer) == expected(answer.hole) for answer in answers)
    table = {name: judge(answers, without) for name, without in LEFT_OUT.items()}
    columns = {figure: {name: row[figure] for name, row in table.items()} for figure in table["extent"]}
    print(file=sys.stderr)
    show(f"{len(answers)} holes, {exact} met exactly", columns)
    last_line({"holes": len(answers), "exact": exact, "filters": table, "machine": machine()})


if __name__ == "__main__":
    main()
