"""The loss of a step: logits only where something is learnt.

An example learns from its middle, some 20 of a thousand tokens. The head over all others, and its gradient, would cost
a quarter of a small base's step and most of a large vocabulary's memory.
"""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy

from starling_training.dataset import IGNORED


def summed(model: Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """Negative log-likelihood of all labels in `inputs`, in nats, in sum; and their number.

    `inputs["labels"]` has the shape (rows, length) and, as everywhere in transformers, a label is predicted from the
    position before it.
    """
    labels = inputs["labels"][:, 1:]
    places = (labels != IGNORED).any(0).nonzero().flatten()  # predicted in at least one row
    others = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**others, logits_to_keep=places, use_cache=False).logits
    targets = labels[:, places]
    total = cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total, int((targets != IGNORED).sum())
