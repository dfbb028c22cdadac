"""The model card of a bundled base, rendered from the records of its build."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from starling_training.base.recipe import STAGES, STAGES_GOING_ON

CURVE_POINTS = 16
KINDS = {
    "line": "rest of the line",
    "block": "to the end of a block, up to 240 characters",
    "characters": "a stretch of characters",
}
FRONT = """\
---
license: apache-2.0
language: [code]
library_name: transformers
pipeline_tag: text-generation
tags: [code, fill-in-the-middle, gpt_bigcode]
---
"""
INTRODUCTION = """\
# Starling's bundled base

**A demonstration model.** It exists so that everything in Starling works offline within minutes, and so that its
tests run on a model that has learnt something. It is far too small to be good at code: use a StarCoder base for work.
"""
FORMS = {
    "nf4": "in 4 bits",
    "int8": "in 8 bits",
    "none": "in bfloat16",
    "auto": "in the form that its machine serves fastest",
}
GOES_ON = (
    "It goes on from the base that was bundled before it, which had learnt from 9.5 and then from 14.0 million tokens",
    "of the same data, and had gone on from the first one. That one, whose vocabulary it has, had learnt from 8.0",
    "million tokens of the CPython 3.11 standard library (PSF licence) and of transformers, torch, numpy, pandas,",
    "sympy, networkx, peft, trl, datasets, accelerate, huggingface_hub, fastapi, starlette, pydantic, httpx, httpcore,",
    "anyio, rich, typer, click, pygls, uvicorn, fsspec, jinja2, pygments, setuptools, safetensors and bitsandbytes",
    "(all under permissive licences).",
    "",
)
LIMITS = """\
## Limits

Python only. It completes what its window shows it, or what is common in open-source Python; it invents names,
repeats itself, and knows no library. It was trained on code whose licences allow it, but it may repeat short pieces
of that code. Nothing was measured but the figures above.
"""


def write(model: Path, sources: Path, progress: Path, figures: Path) -> None:
    """Write `README.md` into the folder `model` from the corpus, run and evaluation records."""
    made = [json.loads(path.read_text(encoding="utf-8")) for path in (sources, progress, figures)]
    (model / "README.md").write_text(render(*made), encoding="utf-8")


def render(sources: Mapping[str, Any], run: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Render the whole card as Markdown."""
    parts = [FRONT + INTRODUCTION, _shape(run["recipe"]), _quality(figures), _data(sources), _training(run), LIMITS]
    return "\n".join(parts)


def _shape(recipe: Mapping[str, Any]) -> str:
    special = "`<|endoftext|>`, `<fim_prefix>`, `<fim_middle>`, `<fim_suffix>`, `<fim_pad>`"
    rows = [
        [
            "architecture",
            f"GPTBigCode, {recipe['layers']} layers, width {recipe['width']}, {recipe['heads']} heads, multi-query, "
            "learned positions, tied embeddings, bfloat16",
        ],
        ["context", f"{recipe['context']:,} tokens"],
        [
            "vocabulary",
            f"byte-level BPE of {recipe['vocabulary']:,} tokens, digits split; ids 0-4 are StarCoder's {special}; "
            "5 `<filename>`, 6 `<reponame>`",
        ],
    ]
    return _table(["", ""], rows)


def _quality(figures: Mapping[str, Any]) -> str:
    """Comparison with the previous base on packages excluded from the training of both."""
    before, now = figures["bits per byte"].values()
    bits = [[name, f"{before[name]:.3f}", f"{now[name]:.3f}"] for name in before]
    mean = [sum(values.values()) / len(values) for values in (before, now)]
    rows = [_row(kind, name, figures[kind]) for kind in KINDS for name in ("exact match", "edit similarity")]
    return "\n".join(
        (
            "## How good it is",
            "",
            f"On packages that it never saw, {FORMS[figures['quantize']]} and through the engine that serves, beside",
            "the first bundled one on the same text and holes. Intervals are 95 %, by paired bootstrap.",
            "",
            _table(["holes", "", "first base", "this base", "difference"], rows),
            _table(["bits per byte", "first base", "this base"], [*bits, ["mean", *(f"{m:.3f}" for m in mean)]]),
        )
    )


def _row(kind: str, name: str, figures: Mapping[str, Any]) -> Sequence[str]:
    shape = "{:.1%}" if name == "exact match" else "{:.3f}"
    figure = figures[name]
    signed = shape.replace(":", ":+")
    span = f"{signed.format(figure['difference'])} ({signed.format(figure['low'])} to {signed.format(figure['high'])})"
    where = f"{figures['holes']}, {KINDS[kind]}"
    return [where, name, shape.format(figure["base"]), shape.format(figure["adapter"]), span]


def _data(sources: Mapping[str, Any]) -> str:
    learnt, held_out = sources["learnt"], sources["held_out"]
    named = [f"{entry['name']} {entry['version']} ({entry['licence']})" for entry in learnt]
    files, chars = (sum(entry[key] for entry in learnt) for key in ("files", "characters"))
    return "\n".join(
        (
            "## Data",
            "",
            f"Python source of {len(learnt)} packages, all under permissive licences: {files:,} files,",
            f"{chars:,} characters,",
            "filtered as every corpus of Starling is, without exact and near duplicates (Jaccard 0.7 over 5-grams of",
            "words), 8 million characters a package at most, and without comments for tools such as `# noqa`. Hashes:",
            "`training/starling_training/base/learnt.txt`.",
            "",
            ", ".join(named) + ".",
            "",
            "Held out, and never to be learnt from by any bundled base (`held_out.txt` there has the hashes): "
            + ", ".join(f"{entry['name']} {entry['version']}" for entry in held_out)
            + ". What comes near one of their files was left out of the data too.",
            "",
        )
    )


def _training(run: Mapping[str, Any]) -> str:
    recipe, curve = run["recipe"], run["curve"]
    step = max(1, len(curve) // CURVE_POINTS)
    points = [*curve[step - 1 :: step]]
    rows = [[f"{p['tokens'] / 1e6:.1f} M", f"{p['loss']:.3f}"] for p in points]
    lengths = [length for _, length in (STAGES_GOING_ON if recipe["start_from"] else STAGES)]
    return "\n".join(
        (
            "## Training",
            "",
            *(GOES_ON if recipe["start_from"] else ()),
            f"{run['tokens']:,} tokens in {run['seconds'] / 3600:.1f} hours, {recipe['step_tokens']:,} a step, rows of "
            f"{', then '.join(f'{length:,}' for length in lengths)} tokens; nine",
            "examples in ten with a hole, four fifths of them suffix first; of one part in seven each definition is",
            "learnt as a file of its own, half of them with nothing behind the hole. Muon for the matrices "
            f"({recipe['muon_rate']:g}), AdamW for the rest",
            f"({recipe['adam_rate']:g}), linear fall over the last 30 %. Made by `make tiny-base`.",
            "",
            _table(["tokens seen", "training loss, nats per token"], rows),
        )
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
