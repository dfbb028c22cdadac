"""Training of one adapter in several processes, as started by `accelerate launch` and `torchrun`.

In a single process, these functions have no cost. The first process makes every decision that depends on a clock, a
signal or a disk.
"""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from starling_server.errors import UsageError

Decision = TypeVar("Decision")
LONGEST_WAIT = timedelta(hours=12)
"""Time limit for the other processes while the first one reads a source."""


def count() -> int:
    """The number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process prints, writes and evaluates."""
    return int(os.environ.get("RANK", "0")) == 0


def join(device: str) -> None:
    """Join the process group, over NCCL on GPUs and over gloo for `device` cpu; each GPU has one process."""
    if count() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=device == "cpu" or not torch.cuda.is_available(), timeout=LONGEST_WAIT)


def only_gpu(device: str) -> str:
    """For `cuda:N`, hide all other GPUs, because a trainer uses the first visible one. Returns the new device name.

    Must be called before torch enumerates the GPUs.
    """
    number = device.removeprefix("cuda:")
    seen = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    if count() > 1 or number == device or not number.isdigit() or (seen and int(number) >= len(seen)):
        return device
    os.environ["CUDA_VISIBLE_DEVICES"] = seen[int(number)] if seen else number
    return "cuda:0"


def leave() -> None:
    """Leave the process group; nothing is shared afterwards."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().destroy_process_group()


def shared(decide: Callable[[], Decision]) -> Decision:
    """The first process's decision, in every process."""
    if count() == 1:
        return decide()
    from accelerate.utils import broadcast_object_list

    box: list[Any] = [decide() if is_first() else None]
    return broadcast_object_list(box)[0]


@contextmanager
def first_then_others() -> Generator[None]:
    """Run the block in the first process, then in the others, which read its results from disk."""
    if count() == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState().main_process_first():
        yield


def split(accumulation: int) -> int:
    """Forward passes of each process in a step of `accumulation` passes in total; raises UsageError."""
    if accumulation % count():
        raise UsageError(f"--accumulation {accumulation} cannot be divided among {count()} processes: use a multiple.")
    return accumulation // count()
