"""All metrics of a set of trials, and of groups of them."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from starling_server.files.languages import language
from starling_training.scoring import metrics
from starling_training.scoring.intervals import Columns, Comparison, Floats, column
from starling_training.scoring.intervals import compare as compare_columns
from starling_training.scoring.trials import Answer, Trial

Figure = Callable[[Trial, Answer], float]
PASSES = (1, 10, 100)
"""k of pass@k, used if there are at least k samples."""


@dataclass(frozen=True, slots=True)
class Group:
    """The metrics of some of the holes."""

    holes: int
    figures: Mapping[str, Comparison]


@dataclass(frozen=True, slots=True)
class Scores:
    """All metrics of an evaluation; empty without trials."""

    figures: Mapping[str, Comparison]
    by_kind: Mapping[str, Group]
    """By the way the holes were drawn (`spans.Kind`)."""
    by_language: Mapping[str, Group]
    by_near: Mapping[str, Group] = field(default_factory=dict[str, Group])
    """By similarity of the document to the training data; empty if that is unknown."""


def compare(trials: Sequence[Trial], seed: int = 0) -> dict[str, Comparison]:
    """Every quality metric that the answers in `trials` allow."""
    columns: dict[str, Columns | None] = {
        "middle loss": _loss(trials),
        "exact match": _mean(trials, lambda t, a: metrics.exact(t.truth, a.text)),
        "first line": _mean(trials, lambda t, a: metrics.first_line(t.truth, a.text)),
        "edit similarity": _mean(trials, similarity),
        "identifiers": _identifiers(trials),
        "length ratio": (_values(trials, lambda _, a: len(a.text)), _values(trials, lambda t, _: len(t.truth))),
        "stop rate": _mean(trials, lambda _, a: a.stopped),
        "valid syntax": _valid(trials),
    }
    for k in PASSES:
        columns[f"pass@{k}"] = _passed(trials, k)
    files = [trial.path for trial in trials]
    return compare_columns({name: both for name, both in columns.items() if both is not None}, files, seed)


def speed(trials: Sequence[Trial], seed: int = 0) -> dict[str, Comparison]:
    """Milliseconds per answer, and the cached share of the prompt tokens if the engines report it."""
    columns = dict[str, Columns]()
    if any(trial.base.ms for trial in trials):
        columns["latency"] = _mean(trials, lambda _, a: a.ms)
    prompts = _values(trials, lambda _, a: a.prompt_tokens)
    if prompts.any():
        columns["cached share"] = _values(trials, lambda _, a: a.cached_tokens), prompts
    return compare_columns(columns, [trial.path for trial in trials], seed)


def scores(trials: Sequence[Trial]) -> Scores:
    """Every metric over all trials, by kind of hole, by language and by similarity to the training data."""
    if not trials:
        return Scores({}, {}, {})
    by_kind = grouped(trials, lambda trial: trial.hole.kind)
    by_language = grouped(trials, lambda trial: language(trial.path) or "other")
    known = [trial for trial in trials if trial.near]
    return Scores(compare(trials), by_kind, by_language, grouped(known, lambda trial: trial.near))


def grouped(trials: Sequence[Trial], name: Callable[[Trial], str]) -> dict[str, Group]:
    """The metrics of each group of trials with the same `name`, largest group first."""
    groups = defaultdict[str, list[Trial]](list)
    for trial in trials:
        groups[name(trial)].append(trial)
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))
    return {name: Group(len(of_it), compare(of_it)) for name, of_it in largest}


def similarity(trial: Trial, answer: Answer) -> float:
    """Edit similarity of the answer to the original text, 0 to 1."""
    return metrics.similarity(trial.truth, answer.text)


def _loss(trials: Sequence[Trial]) -> Columns | None:
    """Nats per token, over the holes where both are known."""
    known = [trial.base.nats is not None and trial.adapter.nats is not None for trial in trials]
    if not any(known):
        return None
    return _values(trials, lambda _, a: a.nats or 0.0) * known, _values(trials, lambda _, a: a.tokens) * known


def _identifiers(trials: Sequence[Trial]) -> Columns:
    """Identifier match, over the holes whose truth contains names."""

    def match(trial: Trial, answer: Answer) -> float:
        return metrics.identifier_match(trial.truth, answer.text, language(trial.path))

    named = [bool(metrics.identifiers(trial.truth, language(trial.path))) for trial in trials]
    return _values(trials, match) * named, _values(trials, lambda _, __: 1) * named


def _valid(trials: Sequence[Trial]) -> Columns | None:
    """Syntactic validity, over the holes whose documents parse with the truth inserted."""
    known = [trial.base.valid is not None and trial.adapter.valid is not None for trial in trials]
    if not any(known):
        return None
    return _values(trials, lambda _, a: bool(a.valid)) * known, _values(trials, lambda _, __: 1) * known


def _passed(trials: Sequence[Trial], k: int) -> Columns | None:
    """pass@k over the executed holes, if each has at least k samples."""
    run = [bool(trial.base.passed and trial.adapter.passed) for trial in trials]
    if not any(run) or any(len(a.passed) < k for t in trials for a in (t.base, t.adapter) if a.passed):
        return None

    def rate(_: Trial, answer: Answer) -> float:
        return metrics.pass_at_k(len(answer.passed), sum(answer.passed), k) if answer.passed else 0.0

    return _values(trials, rate) * run, _values(trials, lambda _, __: 1) * run


def _mean(trials: Sequence[Trial], figure: Figure) -> Columns:
    return _values(trials, figure), _values(trials, lambda _, __: 1)


def _values(trials: Sequence[Trial], figure: Figure) -> Floats:
    """A metric of base and adapter at each hole, (2, holes)."""
    return column([figure(t, t.base) for t in trials], [figure(t, t.adapter) for t in trials])
