"""`report.md`: the data, the training and whether the adapter helps."""

from collections.abc import Mapping, Sequence
from typing import Any

from starling_server.models.manifest import Manifest
from starling_training.report.markdown import block, code, prose, table
from starling_training.scoring.intervals import Comparison
from starling_training.scoring.scores import Group, Scores
from starling_training.scoring.trials import Trial

FIGURES = {
    "middle loss": ("{:.3f}", "nats per token of the true middle; lower is better"),
    "exact match": ("{:.1%}", "suggestions equal to the original text"),
    "first line": ("{:.1%}", "suggestions whose first line is equal"),
    "edit similarity": ("{:.3f}", "1 is equal (as CrossCodeEval and RepoBench count it)"),
    "identifiers": ("{:.3f}", "F1 of the names in them (CrossCodeEval's)"),
    "length ratio": ("{:.2f}", "suggested characters to true ones; 1 is right"),
    "stop rate": ("{:.1%}", "suggestions that ended before the token limit"),
    "valid syntax": ("{:.1%}", "documents that parse with the suggestion, of those that parse with the original"),
    "pass@1": ("{:.1%}", "suggestions with which the tests pass"),
    "pass@10": ("{:.1%}", "the same for the best of 10 (Chen et al. 2021)"),
    "pass@100": ("{:.1%}", "the same for the best of 100"),
    "latency": ("{:.0f} ms", "mean response time, measured by the client"),
    "cached share": ("{:.1%}", "prompt tokens taken from the cache"),
    "characters saved": ("{:.1%}", "of the characters that the author typed"),
    "keys saved": ("{:.1%}", "the same, counting each acceptance as a key"),
    "wrong suggestions": ("{:.1%}", "suggestions that were shown and wrong"),
}
"""Format and meaning of each metric."""
SAMPLES, SHOWN_LINES, SHOWN_LEFT_OUT = 3, 6, 200
IN_GROUPS = ("middle loss", "exact match")
"""Metrics also shown by kind and by language."""
ENOUGH = 5
"""Min holes of a group for a meaningful interval."""
NOT_JUDGED = "Not evaluated: the run was interrupted, or --holes was 0."
JUDGED = (
    "holes in held-out files, filled by the serving engine with its stop rules; intervals by paired bootstrap over "
    "holes. The best step was chosen on other holes of the same files."
)


def render(
    manifest: Manifest, scores: Scores, trials: Sequence[Trial], left_out: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The whole report in Markdown; `left_out` lists excluded files by reason."""
    parts = [
        f"# {made(manifest).capitalize()} {prose(manifest.name)}",
        f"Trained on {_sources(manifest)} for base {code(manifest.base.id)}, {manifest.created:%Y-%m-%d %H:%M} UTC.",
        "## Does it help?",
        *_verdict(manifest, scores, len(trials)),
        "## Training",
        _curve(manifest.training["curve"]),
        f"Ended: {manifest.training['ended']}; the {made(manifest)} of step {manifest.training['best_step']} was kept.",
        "## What was read",
        _data(manifest.data),
        *_left_out(left_out or {}),
        *_samples(trials),
        "## Configuration",
        table(["setting", "value", "from"], [list(map(prose, s.values())) for s in manifest.training["settings"]]),
        "## Versions",
        _pairs(manifest.versions),
    ]
    return "\n\n".join(parts) + "\n"


def cells(name: str, figure: Comparison) -> tuple[str, str, str, str, str]:
    """A metric as text: name, base, adapter, difference, interval."""
    shape = FIGURES[name][0]
    signed = shape.replace(":", ":+")
    span = f"{signed.format(figure.low)} to {signed.format(figure.high)}"
    return name, shape.format(figure.base), shape.format(figure.adapter), signed.format(figure.difference), span


def group_cells(name: str, group: Group) -> tuple[str, str, str, str]:
    """A group's metric as text: base, adapter, difference, interval."""
    _, base, adapter, difference, interval = cells(name, group.figures[name])
    return base, adapter, difference, interval if group.holes >= ENOUGH else "too few holes"


def made(manifest: Manifest) -> str:
    """The product of training: an adapter or a whole model."""
    return "model" if manifest.training["method"] == "full" else "adapter"


def verdict(figures: Mapping[str, Comparison], trained: str) -> tuple[str, str]:
    """Whether the `trained` weights help: a word (`better`, `worse`, `unsure`) and two sentences."""
    loss, match = figures["middle loss"], figures["exact match"]
    sure = "better" if loss.high < 0 else "worse" if loss.low > 0 else "unsure"
    said = {
        "better": f"The {trained} predicts held-out code better than its base",
        "worse": f"The {trained} predicts held-out code worse than its base",
        "unsure": f"Whether the {trained} predicts held-out code better than its base is not sure",
    }[sure]
    certain = "" if match.low > 0 or match.high < 0 or not match.difference else ", which may be chance"
    return sure, (
        f"{said}: {loss.adapter:.2f} instead of {loss.base:.2f} nats per token "
        f"({loss.difference:+.2f}, 95 % interval {loss.low:+.2f} to {loss.high:+.2f}). "
        f"Exact matches: {match.adapter:.1%} of its suggestions, {match.base:.1%} of the base's{certain}."
    )


def samples(trials: Sequence[Trial]) -> list[Trial]:
    """A few holes to show: the first ones with a non-empty middle, one per file."""
    chosen = {trial.path: trial for trial in reversed(trials) if trial.truth}
    return list(reversed(chosen.values()))[:SAMPLES]


def _verdict(manifest: Manifest, scores: Scores, count: int) -> list[str]:
    if not scores.figures:
        return [NOT_JUDGED]
    rows = [[*cells(name, figure), FIGURES[name][1]] for name, figure in scores.figures.items()]
    head = ["", "base", "adapter", "difference", "95 % interval", "meaning"]
    return [
        verdict(scores.figures, made(manifest))[1],
        table(head, rows),
        f"{count} {JUDGED}",
        "By kind of hole:",
        _grouped(scores.by_kind),
        *(["By language:", _grouped(scores.by_language)] if len(scores.by_language) > 1 else []),
    ]


def _grouped(groups: Mapping[str, Group]) -> str:
    rows = [
        [name, str(group.holes), *(text for figure in IN_GROUPS for text in group_cells(figure, group))]
        for name, group in groups.items()
    ]
    head = [text for figure in IN_GROUPS for text in (f"{figure}: base", "adapter", "difference", "95 % interval")]
    return table(["", "holes", *head], rows)


def _curve(points: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            str(p["step"]),
            f"{p['seconds']:.0f}",
            "" if p["train"] is None else f"{p['train']:.3f}",
            f"{p['held_out']:.3f}",
        ]
        for p in points
    ]
    return table(["step", "seconds", "training loss", "held-out middle loss"], rows)


def _sources(manifest: Manifest) -> str:
    return ", ".join(code(source["named"]) for source in manifest.data["sources"])


def _data(data: Mapping[str, Any]) -> str:
    languages = ", ".join(f"{name} {count}" for name, count in data["languages"].items())
    dropped = _counts(data["dropped"])
    held = "\n".join(f"- {code(path)}" for path in data["held_out"])
    sources = [[code(s["named"]), s["commit"] or "", str(s["files"]), f"`{s['sha256']}`"] for s in data["sources"]]
    return (
        f"{data['files']} files with {data['characters']:,} characters ({languages}); left out: {dropped}.\n\n"
        f"{table(['source', 'commit', 'files', 'SHA-256 of paths and cleaned texts'], sources)}\n\n"
        f"Secrets redacted before training: {_counts(data['redacted'])}.\n\n"
        f"Held out for evaluation:\n\n{held}"
    )


def _left_out(left_out: Mapping[str, Sequence[str]]) -> list[str]:
    lines = [f"- {code(path)}: {reason}" for reason, paths in left_out.items() for path in paths]
    more = [f"- and {len(lines) - SHOWN_LEFT_OUT:,} more, in corpus.json"] if len(lines) > SHOWN_LEFT_OUT else []
    return ["Left out:", "\n".join([*lines[:SHOWN_LEFT_OUT], *more])] if lines else []


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"


def _samples(trials: Sequence[Trial]) -> list[str]:
    shown = samples(trials)
    return ["## Samples", *(_sample(trial) for trial in shown)] if shown else []


def _sample(trial: Trial) -> str:
    before = "\n".join(trial.hole.prefix.split("\n")[-SHOWN_LINES:])
    texts = {"the text before": before, "what was there": trial.truth, "base": trial.base.text}
    texts["adapter"] = trial.adapter.text
    blocks = (f"{name}:\n\n{block(text)}" for name, text in texts.items())
    return f"### {code(trial.path)}\n\n" + "\n\n".join(blocks)


def _pairs(values: Mapping[str, Any]) -> str:
    return table(["", "value"], [[name, prose(str(value))] for name, value in values.items()])
