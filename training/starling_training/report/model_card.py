"""`README.md`: the card of an adapter or a model in the Hub's format.

It may be published, so it contains short names of sources, and no folder, file or line from them.
"""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData, metadata_load
from yaml import YAMLError

from starling_server import __version__
from starling_server.models.bases import Base
from starling_server.models.manifest import Manifest
from starling_server.printable import printable
from starling_training.publish import public
from starling_training.report import summary
from starling_training.report.markdown import code, prose, table
from starling_training.scoring.scores import Scores

CARD = "README.md"
TAGS = ["code", "code-completion", "fill-in-the-middle", "lora", "starling"]
METRICS = {"exact match": "exact_match", "edit similarity": "edit_similarity", "middle loss": "loss"}
"""Metrics in the card's front matter, with the Hub's names."""
SHAPE = ("method", "rank", "alpha", "dropout", "targets")
COURSE = (
    "learning_rate",
    "batch",
    "accumulation",
    "warmup",
    "weight_decay",
    "epochs",
    "fim_rate",
    "order",
    "spm_rate",
    "loss",
)
KINDS = {
    "adapter": "A LoRA adapter over the base {base},",
    "model": "The model {base}, all of its weights trained further,",
}
TEXT = """
# {title}

{what} for code completion with fill-in-the-middle. It was trained with Starling {version} on the code of
{sources}.

## Use

Get this folder onto your disk and serve it with Starling:

```sh
hf download OWNER/{name} --local-dir {name}
serve-copilot {flags}
```

`starling-lsp {flags}` gives the same suggestions to editors.
RemoteModels it loads with `{loads}`; prompts are the FIM format of {family}, {order} first, in a window of
{context:,} tokens of which {most} are left to the middle.

## Is it better than its base?

{quality}

## Data

{data}

## Training

{training}

## Limits

- It knows the code it was trained on. On other code it may be no better than its base, or worse.
- It may repeat pieces of that code word for word. Secrets that were recognised were replaced beforehand; nothing finds
  all of them. Whoever can load it can read some of what it learnt.
- Its suggestions can be wrong, insecure or subject to the licences of the code it learnt from: review them.
- {licensed}
"""


def licence(base: Base) -> str | None:
    """The licence in the model card of `base`; None without a card on disk or a licence in it."""
    card = base.path / CARD
    try:
        front = metadata_load(card) if card.is_file() else None
    except (ValueError, YAMLError):
        return None
    named = (front or {}).get("license")
    return named if isinstance(named, str) else None


def render(manifest: Manifest, scores: Scores, licence: str | None) -> str:
    """The card of the adapter that `manifest` describes; `licence` is the base's, if known."""
    made, base = summary.made(manifest), public.base(manifest.base)
    whole = made == "model"
    text = TEXT.format(
        name=printable(manifest.name),
        title=prose(manifest.name),
        what=KINDS[made].format(base=code(base)),
        flags=printable(f"--base ./{manifest.name}" if whole else f"--base {base} --adapter ./{manifest.name}"),
        loads="transformers.AutoModelForCausalLM" if whole else "peft.PeftModel",
        version=__version__,
        sources=", ".join(map(prose, public.sources(manifest))) or "unnamed sources",
        family=manifest.fim.family,
        order="suffix" if manifest.fim.order == "spm" else "prefix",
        context=manifest.fim.context_tokens,
        most=manifest.fim.max_tokens,
        quality=_quality(made, scores, manifest.results.get("holes", 0)),
        data=_data(manifest.data),
        training=_training(manifest.training),
        licensed=_licensed(licence),
    )
    return str(ModelCard(f"---\n{_front(manifest, scores, licence).to_yaml()}\n---\n{text}"))


def _front(manifest: Manifest, scores: Scores, licence: str | None) -> ModelCardData:
    """The front matter; a base that is not on the Hub is left out, because a link to it would be broken."""
    sources: list[dict[str, Any]] = manifest.data["sources"]
    return ModelCardData(
        base_model=manifest.base.id if manifest.base.revision else None,
        library_name="transformers" if summary.made(manifest) == "model" else "peft",
        license=licence,
        language="code",
        pipeline_tag="text-generation",
        tags=[tag for tag in TAGS if tag != "lora" or summary.made(manifest) == "adapter"],
        datasets=[hub_name(source["named"]) for source in sources if source["kind"] == "hub"] or None,
        model_name=manifest.name,
        eval_results=_results(manifest, scores) or None,
    )


def hub_name(named: str) -> str:
    """`OWNER/NAME` of a source hf:OWNER/NAME[/CONFIG][@REVISION][:SPLIT]."""
    plain = named.removeprefix("hf:").partition("@")[0].partition(":")[0]
    return "/".join(plain.split("/")[:2])


def _results(manifest: Manifest, scores: Scores) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="text-generation",
            task_name="fill-in-the-middle",
            dataset_type="held-out",
            dataset_name=f"held-out files of {', '.join(public.sources(manifest))}",
            metric_type=METRICS[name],
            metric_name=name,
            metric_value=round(figure.adapter, 4),
        )
        for name, figure in scores.figures.items()
        if name in METRICS
    ]


def _quality(made: str, scores: Scores, holes: int) -> str:
    if not scores.figures:
        return "It was not evaluated."
    head = ["", "base", "adapter", "difference", "95 % interval", "meaning"]
    rows = [[*summary.cells(name, figure), summary.FIGURES[name][1]] for name, figure in scores.figures.items()]
    return f"{summary.verdict(scores.figures, made)[1]}\n\n{table(head, rows)}\n\n{holes} {summary.JUDGED}"


def _data(data: Mapping[str, Any]) -> str:
    languages = ", ".join(f"{name} {count:,}" for name, count in data["languages"].items())
    licences = ", ".join(f"{prose(name)} {count:,}" for name, count in data["licences"].items())
    rows = [
        ["files", f"{data['files']:,}"],
        ["characters", f"{data['characters']:,}"],
        ["languages", languages],
        ["licences of the files", licences or "not recorded"],
        ["files left out", f"{sum(data['dropped'].values()):,}"],
        ["secrets redacted", f"{sum(data['redacted'].values()):,}"],
        ["files held out for evaluation", f"{len(data['held_out']):,}"],
    ]
    return table(["", ""], rows)


def _training(training: Mapping[str, Any]) -> str:
    first, best = training["curve"][0], training["best_step"]
    kept = next(point for point in training["curve"] if point["step"] == best)
    settings = [
        [name.replace("_", " "), str(training[name])] for name in (*SHAPE, *COURSE) if training.get(name) is not None
    ]
    loss = f"{first['held_out']:.3f} before, {kept['held_out']:.3f} after step {best}"
    return table(["", ""], [*settings, ["held-out loss", loss], ["ended", str(training["ended"])]])


def _licensed(licence: str | None) -> str:
    if licence:
        return f"The base's licence is {code(licence)}; it and the licences of the code hold for this too."
    return "The licences of the base and of the code hold for this too."
