"""Which merge an export writes: the one that was asked for, or the better of both."""

import gc
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from starling_server import loading
from starling_server.config import ModelConfig
from starling_server.fim import Example
from starling_training.export import choose, measure, merge
from starling_training.export.choose import Choice
from starling_training.export.config import Onto
from starling_training.export.job import Job

CANDIDATES: tuple[Onto, ...] = ("bf16", "dequantised")


def merged(asked: Job, folder: Path) -> Choice:
    """Merge into the empty `folder` and say onto what, and why."""
    choice = _chosen(asked, folder)
    for name, value in choice.losses.items():
        asked.console.print(f"loss on held-out middles, {name}: {value:.4f} nats per token", soft_wrap=True)
    asked.console.print(f"Merged onto {choice.onto}: {choice.reason}.", soft_wrap=True)
    return choice


def _chosen(asked: Job, folder: Path) -> Choice:
    config, record = asked.config, asked.adapter.manifest
    if config.merge in CANDIDATES:
        choice = Choice(config.merge, "as asked for")
    elif not config.holes:
        choice = choose.unmeasured(record, "--holes 0 measures nothing")
    elif not (held_out := measure.documents(record)):
        choice = choose.unmeasured(record, "the files that were held out are not there to measure on")
    elif not (examples := measure.examples(held_out, record, asked.base, config.holes)):
        choice = choose.unmeasured(record, "the files that were held out have no place to measure on")
    else:
        return _measured(asked, examples, folder)
    _write(asked, choice.onto, folder)
    return choice


def _measured(asked: Job, examples: Sequence[Example], folder: Path) -> Choice:
    """Merge both ways, measure both as they lie on disk, and keep the better in `folder`."""
    device = asked.config.device
    losses = dict[Onto, float]()
    for onto in CANDIDATES:
        place = folder.parent / onto
        place.mkdir()
        _write(asked, onto, place)
        losses[onto] = measure.loss(ModelConfig(str(place), "none", device), None, examples)
    served = measure.loss(ModelConfig(str(asked.base.path), "nf4", device), asked.adapter, examples)
    choice = choose.by_loss(losses, served)
    for file in (folder.parent / choice.onto).iterdir():
        file.rename(folder / file.name)
    return choice


def _write(asked: Job, onto: Onto, folder: Path) -> None:
    """The merged model in `folder`."""
    with _weights(asked, onto) as weights:
        merge.write(asked.base, asked.lora, weights, folder)


@contextmanager
def _weights(asked: Job, onto: Onto) -> Generator[merge.Weights]:
    """What stands in for the base's weights: nothing, or what its 4-bit form multiplies with."""
    if onto == "bf16":
        yield {}
        return
    loaded = loading.load(ModelConfig(str(asked.base.path), "nf4", asked.config.device))
    yield loading.dequantised(loaded.model)
    del loaded
    gc.collect()
