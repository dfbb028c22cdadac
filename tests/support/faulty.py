"""A real serve-copilot whose forwards, and whose clock, do once what a file says.

    python faulty.py ORDERS_FILE [serve-copilot's flags]

`raise`, `die` (an exception that is no Exception ends the thread) and `hang` are done by the next forward; `slow` holds
for every forward while the file is there; `step` sets the wall clock a day forward, and another one back again.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starling_server.__main__ import main
from starling_server.backends.torch import runner
from starling_server.engine.protocols import Feed

SECRET = "the_code_in_an_exception"
HANG_SECONDS, SLOW_SECONDS, DAY = 60, 0.1, 86_400


def told(orders: Path) -> str:
    """What the file says."""
    try:
        return orders.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def once(orders: Path) -> str:
    """What the next forward should do; only a forward may ask, since most orders are gone then."""
    order = told(orders)
    if order in {"raise", "die", "hang"}:
        orders.unlink()
    return order


def plant(orders: Path) -> None:
    """Put the faults into every forward, and the step into the clock."""
    forward, clock = runner.TorchRunner.feed, time.time

    def feed(self: runner.TorchRunner, feeds: Sequence[Feed]) -> list[Any]:
        order = once(orders)
        if order == "raise":
            raise RuntimeError(f"planted: {SECRET}")
        if order == "die":
            raise SystemExit(f"planted: {SECRET}")
        if order == "hang":
            time.sleep(HANG_SECONDS)
        if order == "slow":
            time.sleep(SLOW_SECONDS)
        return forward(self, feeds)

    def stepped() -> float:
        return clock() + (DAY if told(orders) == "step" else 0)

    runner.TorchRunner.feed = feed
    time.time = stepped


if __name__ == "__main__":
    plant(Path(sys.argv.pop(1)))
    main()
