"""What a run does when memory runs out: smaller forwards, more of them in a step, the same steps."""

from dataclasses import replace

import torch

from starling_server.errors import UsageError
from starling_training.config import OptimConfig

_CPU_WORDS = ("can't allocate memory", "not enough memory")
"""torch has no exception of its own for the host's memory."""


def is_out(error: BaseException) -> bool:
    """Whether memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_WORDS)


def smaller(optim: OptimConfig) -> OptimConfig:
    """`optim` with fewer examples in a forward and as many in a step; raises UsageError at one example."""
    if optim.batch == 1:
        raise UsageError(
            "Memory runs out with one example in a forward: use a smaller --context-tokens, --method qlora, or a "
            "smaller --base; --dry-run prints what each takes."
        )
    batch = max(size for size in range(1, optim.batch) if optim.batch % size == 0)
    return replace(optim, batch=batch, accumulation=optim.accumulation * optim.batch // batch)
