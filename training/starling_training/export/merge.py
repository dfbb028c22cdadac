"""Chooses the weights to merge onto and writes the merged model in Hugging Face's layout.

The base's files are read, changed and written one at a time, so a large base needs memory for one file only. Sums are
computed in float32 and rounded to bfloat16 once.
"""

import gc
import json
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from starling_server import untrusted
from starling_server.backends.torch import loading
from starling_server.backends.torch.runner import TorchRunner
from starling_server.config import ModelConfig
from starling_server.errors import AdapterError, BaseModelError
from starling_server.models import bases, safetensors_numpy
from starling_server.models.adapters import Adapter
from starling_server.models.bases import Base
from starling_server.models.lora import Lora
from starling_server.models.manifest import MANIFEST, Manifest, prompt_format
from starling_server.models.tokenizer import load_tokenizer
from starling_server.prompt.fim import Example, Order
from starling_server.untrusted import Unfit, shown
from starling_training.examples.dataset import Writer, held_out_holes
from starling_training.export import export_config
from starling_training.export.export_config import Choice, Onto
from starling_training.export.export_run import Job
from starling_training.sources.clean import Document, Raw, clean

Weights = Mapping[str, Callable[[], Tensor]]
"""By layer name: a function that returns the weight that the adapter is added to."""
PRIVATE = frozenset({MANIFEST, "corpus.json"})
"""Files that `--method full` writes beside a base; they describe a private source and are not copied."""
CANDIDATES: tuple[Onto, ...] = ("bf16", "dequantised")
COPIED = frozenset({".json", ".txt", ".jinja"})
"""Extensions of configuration and tokenizer files."""


def write(base: Base, lora: Lora, others: Weights, folder: Path, order: Order | None = None) -> None:
    """Write `base` plus `lora` into the empty `folder`; `others` replace the base's own weights.

    `order` is the order of prompts that the adapter was trained for, by default the base's own.

    Raises BaseModelError, and AdapterError if a layer of the adapter is not in the base.
    """
    left = set(lora.pairs)
    size = 0
    for file in safetensors_numpy.weights_of(base.path):
        merged = {name: _merged(name, weight, lora, others, left) for name, weight in _read(base, file).items()}
        save_file(merged, folder / file.name, {"format": "pt"})
        size += sum(weight.numel() * weight.element_size() for weight in merged.values())
    if left:
        raise AdapterError(f"The adapter targets {min(left)}, which base {base.id!r} does not have: train it again.")
    _copy_rest(base, folder, size, {bases.ORDER: order} if order else {})


def _merged(name: str, weight: Tensor, lora: Lora, others: Weights, left: set[str]) -> Tensor:
    module = name.removesuffix(".weight")
    if module in others and name != module:
        weight = others[module]()
    if module in left:
        left.remove(module)
        weight = weight.float() + torch.from_numpy(lora.pairs[module].delta())
    return weight.to(torch.bfloat16).contiguous() if weight.is_floating_point() else weight


def _read(base: Base, file: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(file)
    except PermissionError as error:
        raise bases.unreadable(file, error) from error
    except Exception as error:  # safetensors has its own error type
        raise BaseModelError(
            f"The weights of base {base.id!r} cannot be read ({shown(error)}): download it again."
        ) from error


def _copy_rest(base: Base, folder: Path, size: int, settings: Mapping[str, object]) -> None:
    for file in base.path.iterdir():
        if file.is_file() and file.name not in PRIVATE and (file.suffix in COPIED or file.name.startswith("LICENSE")):
            shutil.copyfile(file, folder / file.name)
    config = {key: value for key, value in base.config.items() if key != "quantization_config"}
    config |= {key: "bfloat16" for key in ("dtype", "torch_dtype") if key in config} or {"dtype": "bfloat16"}
    config |= settings
    _dump(config, folder / "config.json")
    with suppress(FileNotFoundError, Unfit):  # a damaged index beside a single weights file was never read
        index = untrusted.parsed(untrusted.read(folder / safetensors_numpy.INDEX, safetensors_numpy.INDEX_BYTES))
        if (folder / safetensors_numpy.WHOLE).is_file():
            (folder / safetensors_numpy.INDEX).unlink()  # with a single weights file, shards are unused
        else:
            _dump(index | {"metadata": {"total_size": size}}, folder / safetensors_numpy.INDEX)


def _dump(content: object, path: Path) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def merged(asked: Job, folder: Path) -> Choice:
    """Merge into the empty `folder`; returns the weights merged onto, and the reason."""
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
        choice = export_config.unmeasured(record, "--holes 0 measures nothing")
    elif not (held_out := held_out_documents(record)):
        choice = export_config.unmeasured(record, "the files that were held out are not there to measure on")
    elif not (examples := held_out_examples(held_out, record, asked.base, config.holes)):
        choice = export_config.unmeasured(record, "the files that were held out have no place to measure on")
    else:
        return _measured(asked, examples, folder)
    _write(asked, choice.onto, folder)
    return choice


def _measured(asked: Job, examples: Sequence[Example], folder: Path) -> Choice:
    """Write both merges, measure both from disk, and keep the better one in `folder`."""
    device = asked.config.device
    losses = dict[Onto, float]()
    for onto in CANDIDATES:
        place = folder.parent / onto
        place.mkdir()
        _write(asked, onto, place)
        losses[onto] = middle_loss(ModelConfig(str(place), "none", device), None, examples)
    served = middle_loss(ModelConfig(str(asked.base.path), "nf4", device), asked.adapter, examples)
    choice = export_config.by_loss(losses, served)
    for file in (folder.parent / choice.onto).iterdir():
        file.rename(folder / file.name)
    return choice


def _write(asked: Job, onto: Onto, folder: Path) -> None:
    """Write the merged model to `folder`."""
    with _weights(asked, onto) as weights:
        write(asked.base, asked.lora, weights, folder, taught(asked))


def taught(asked: Job) -> Order | None:
    """The order of prompts that the adapter taught; None where it is the base's own."""
    order = asked.adapter.manifest.fim.order
    return None if order == asked.base.fim(load_tokenizer(asked.base)).order else order


@contextmanager
def _weights(asked: Job, onto: Onto) -> Generator[Weights]:
    """Replacements for the base's weights: none, or its 4-bit weights dequantised."""
    if onto == "bf16":
        yield {}
        return
    loaded = loading.load(ModelConfig(str(asked.base.path), "nf4", asked.config.device))
    yield loading.dequantised(loaded.model)
    del loaded
    gc.collect()


def held_out_documents(manifest: Manifest) -> list[Document]:
    """The current held-out files, cleaned as for training; empty if their folder is gone.

    Also empty for several sources: held-out paths do not identify their source, so a file of the same path in another
    source may have been trained on.
    """
    if not manifest.workspace or len(manifest.data.get("sources", ())) != 1:
        return []
    root = Path(manifest.workspace).resolve()
    found = (clean(Raw(path, root.name, root=root)) for path in manifest.data.get("held_out", ()))
    return [item.document for item in found if not isinstance(item, str)]


def held_out_examples(held_out: Sequence[Document], manifest: Manifest, base: Base, count: int) -> list[Example]:
    """Holes in `held_out` with the prompts used in serving; empty if no middle is short enough."""
    tokenizer = load_tokenizer(base)
    written = prompt_format(base.fim(tokenizer), manifest.fim)
    writer = Writer(tokenizer, written, manifest.fim.context_tokens, manifest.fim.max_tokens)
    return [writer.hole(hole) for _, hole in held_out_holes(held_out, writer, count, "export:0")]


def middle_loss(model: ModelConfig, adapter: Adapter | None, asked: Sequence[Example]) -> float:
    """Nats per token of the examples' middles and end tokens, under `model` as served, with the adapter or bare."""
    loaded = loading.load(model)
    runner = TorchRunner(loaded)
    if adapter:
        runner.add_adapter(adapter.name, adapter.path)
    name = adapter.name if adapter else None
    scores = [score for made in asked for score in runner.score(name, made.ids, made.prompt_tokens)]
    del runner, loaded
    gc.collect()  # frees memory for the next model
    return -sum(scores) / len(scores)
