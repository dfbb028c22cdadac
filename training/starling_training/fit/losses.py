"""Loss of a batch: which tokens count, and how much.

A step over a repository of a million tokens sees a few thousand of them. With labels on middles only it learns from one
in fifty, mostly how holes go anywhere: an adapter trained so was no better at home than one of another repository
(docs/experiments.md). So every token has a label, at nearly no cost: the forward pass computed it anyway.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from starling_server.prompt.fim import Example
from starling_training.config import Loss
from starling_training.examples.dataset import IGNORED

MIDDLE_SHARE = 0.2
"""Share of an example's loss that its middle has with `--loss weighted`; docs/experiments.md has others."""
PAD_MULTIPLE = 64
"""Lengths are padded to multiples of this, so that there are few distinct ones: on a CPU each new length costs memory
that is not freed. Runs of the tiny base peaked at 3.2 GB without this and at 1.9 GB with it.
"""


def labels(made: Example, loss: Loss) -> list[int]:
    """The ids that count in the loss, IGNORED elsewhere; plain text counts in any form."""
    if loss != "middle":
        return made.ids
    return [IGNORED] * made.prompt_tokens + made.ids[made.prompt_tokens :]


def weights(made: Example, loss: Loss, context: int) -> list[float]:
    """The weight of each token's loss.

    They add up to 1, so that the batch size does not change what is learnt: a mean over tokens gives middles 44 % of
    the loss at 4 examples a step and 12 % at 16, since plain text has fifty times as many labels. `all`, the published
    form, is such a mean: 1 / `context` each.
    """
    prompt, length = made.prompt_tokens, len(made.ids)
    if loss == "all":
        return [1 / context] * length
    if not prompt:
        return [1 / length] * length
    share = 1.0 if loss == "middle" else MIDDLE_SHARE
    return [(1 - share) / prompt] * prompt + [share / (length - prompt)] * (length - prompt)


def weighted_loss(model: Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Negative log-likelihood of the labels in nats, each times its weight, summed.

    `inputs` has `labels` and `weights` of the shape (rows, length). As everywhere in transformers, a label is predicted
    from the previous position.
    """
    places = _places(inputs)
    return (_losses(model, inputs, places) * inputs["weights"][:, 1:][:, places].flatten()).sum()


def summed_loss(model: Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """Summed negative log-likelihood of all labels in nats, without weights, and their number; shapes as above."""
    return _losses(model, inputs, _places(inputs)).sum(), int((inputs["labels"][:, 1:] != IGNORED).sum())


class WeighingCollator(DataCollatorForLanguageModeling):
    """Examples of `input_ids`, `labels` and `weights` to tensors; the weights are divided by the number of examples."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """trl's batch with `weights`, of the same shape as `labels`."""
        batch = super().torch_call([{name: made[name] for name in ("input_ids", "labels")} for made in examples])
        rows = [torch.tensor(made["weights"]) for made in examples]
        if self.padding_free:
            rows = [torch.cat(rows)]
        padded = torch.zeros(batch["labels"].shape)
        for row, values in zip(padded, rows, strict=True):
            row[: len(values)] = values
        return {**batch, "weights": padded / len(examples)}


def collator(pad: int, packing: bool) -> WeighingCollator:
    """Examples to tensors: padded, one row each; with `packing`, one row for all, with positions that restart per
    example.

    Attention then stays within each example; this depends on the positions and requires that there is no attention
    mask.
    """
    return WeighingCollator(pad, padding_free=packing, pad_to_multiple_of=PAD_MULTIPLE)


def _places(inputs: Mapping[str, Tensor]) -> Tensor:
    """Positions before a label of at least one row: the head is computed for these only."""
    return (inputs["labels"][:, 1:] != IGNORED).any(0).nonzero().flatten()


def _losses(model: Module, inputs: Mapping[str, Tensor], places: Tensor) -> Tensor:
    """The loss at every place of every row, flattened; 0 without a label."""
    others = {name: value for name, value in inputs.items() if name not in ("labels", "weights")}
    logits = model(**others, logits_to_keep=places, use_cache=False).logits
    targets = inputs["labels"][:, 1:][:, places].flatten()
    return cross_entropy(logits.float().flatten(0, 1), targets, ignore_index=IGNORED, reduction="none")
