"""The real `train-copilot` in an address space far too small for what hostile files unpack to.

Its last line says how much memory it took at most; what `wait4` says counts the test's too.
"""

import atexit
import resource
import sys
from pathlib import Path

from starling_training.__main__ import main

STATUS = Path("/proc/self/status")
ADDRESSES = 12 << 30


def peak() -> str:
    """`VmHWM: ... kB`."""
    return next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    atexit.register(lambda: print(peak()))  # noqa: T201
    sys.argv[0] = "train-copilot"
    main()
