"""Does an adapter help? Trains on several repositories and evaluates on held-out files and on other repositories.

    python benchmarks/proof.py FOLDER FOLDER... [--holes 300] [--work FOLDER] [--train='--max-minutes 2']

The real commands run, with train-copilot's defaults unless --train changes them. First, own against foreign: at the
held-out holes of each repository, its own adapter is compared with the next repository's, trained alike. Only this
difference is knowledge of the repository. Then base and adapter are compared on held-out files, and on the next
repository, which was not in the training data; a gain there is an effect of any training on such code. Last, the
evaluation itself is tested: a repetition of the first adapter's run, which must not differ, and labels shuffled with 20
seeds, where one in twenty intervals may miss zero.

Results already in the work folder are reused.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import report

from starling_training.report.comparison import verdict
from starling_training.scoring import result_file, scores
from starling_training.scoring.intervals import Comparison
from starling_training.scoring.result_file import Run

SEEDS = 20
FIGURES = ("middle loss", "exact match", "edit similarity")
SAME = ("text", "nats", "tokens", "stopped", "valid")
"""Fields of an answer that must be equal in a second run; times differ."""


def command(module: str, *arguments: str | Path) -> None:
    """Run one of the project's commands, with its output shown."""
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True)


def train(source: Path, asked: argparse.Namespace) -> Path:
    """The adapter trained on `source`, named after it."""
    output = asked.work / "adapters" / source.name
    if not output.exists():
        flags = ("--base", asked.base, "--output", output, "--holes", "0", *shlex.split(asked.train))
        command("starling_training", source, *flags)
    return output


def judge(source: Path, adapter: Path, name: str, asked: argparse.Namespace, against: Path | None = None) -> Run:
    """The run of `adapter`, against the base or another adapter, on `source`, stored with its report as `name`."""
    kept = asked.work / f"{name}.json"
    if not kept.exists():
        flags = ["--adapter", adapter, "--base", asked.base, "--holes", str(asked.holes)]
        flags += ["--against", against] if against else []
        command("starling_training.evaluation", source, *flags, "--json", kept, "--report", kept.with_suffix(".html"))
    return result_file.read(kept)


def figures(run: Run) -> dict[str, Any]:
    """Figures of a run in the JSON line."""
    found = scores.compare(run.trials)
    word, said = verdict(found, run.sides, run.elsewhere)
    return {"holes": len(run.trials), "verdict": word, "said": said} | {
        name: [found[name].base, found[name].adapter, found[name].low, found[name].high] for name in FIGURES
    }


def differences(first: Run, second: Run) -> int:
    """Number of answers that differ between two runs of the same adapter."""
    pairs = zip(first.trials, second.trials, strict=True)
    return sum(any(getattr(one.adapter, name) != getattr(other.adapter, name) for name in SAME) for one, other in pairs)


def shuffled(run: Run) -> dict[str, int]:
    """Number of the `SEEDS` shuffles of base and adapter without a significant difference, by metric."""
    none: dict[str, int] = dict.fromkeys(FIGURES[:2], 0)
    for seed in range(SEEDS):
        toss = Random(seed)
        trials = [replace(t, base=t.adapter, adapter=t.base) if toss.random() < 0.5 else t for t in run.trials]
        found: Mapping[str, Comparison] = scores.compare(trials, seed)
        for name in none:
            none[name] += not found[name].sure
    return none


def column(values: Mapping[str, Any]) -> dict[str, str]:
    """Table column of a run: base, adapter, interval of the difference."""
    shown = {"holes": str(values["holes"]), "verdict": str(values["verdict"])}
    for name in FIGURES:
        base, adapter, low, high = values[name]
        shown[name] = f"{base:.3f} to {adapter:.3f} ({low:+.3f} to {high:+.3f})"
    return shown


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--holes", type=int, default=300)
    parser.add_argument("--work", type=Path, default=Path("proof"))
    parser.add_argument("--train", default="", help="further flags of train-copilot")
    return parser.parse_args(arguments)


def main() -> None:
    asked = options()
    machine = report.machine()
    adapters = {source.name: train(source, asked) for source in asked.sources}
    own, others, foreign = dict[str, Run](), dict[str, Run](), dict[str, Run]()
    for number, source in enumerate(asked.sources):
        adapter, stranger = adapters[source.name], asked.sources[(number + 1) % len(asked.sources)]
        own[source.name] = judge(source, adapter, f"{source.name}-own", asked)
        if stranger != source:
            name = f"{source.name}: {stranger.name}'s adapter to its own"
            foreign[name] = judge(source, adapter, f"{source.name}-own-foreign", asked, adapters[stranger.name])
            others[f"{source.name} on {stranger.name}"] = judge(
                stranger, adapter, f"{source.name}-on-{stranger.name}", asked
            )
    first = asked.sources[0]
    again = judge(first, adapters[first.name], f"{first.name}-again", asked)
    found = {name: figures(run) for name, run in {**own, **others}.items()}
    knows = {name: figures(run) for name, run in foreign.items()}
    report.show("Foreign adapter to own", {name: column(values) for name, values in knows.items()})
    report.show("Base to adapter", {name: column(values) for name, values in found.items()})
    report.last_line(
        {
            "machine": machine,
            "own_against_foreign": knows,
            "runs": found,
            "differences_of_a_second_run": differences(own[first.name], again),
            "shuffled_without_a_difference": shuffled(own[first.name]),
            "seeds": SEEDS,
        }
    )


if __name__ == "__main__":
    main()
