"""What `--base auto` means on this machine: a base whose memory and latency suit it, one on the disk before others."""

import logging
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import psutil

from starling_server.errors import StarlingError
from starling_server.models import bases
from starling_server.models.catalogue import known, on_disk
from starling_server.models.catalogue.known import KNOWN, TINY, Known
from starling_server.models.catalogue.on_disk import Found
from starling_server.untrusted import shown

log = logging.getLogger(__name__)
AUTO = "auto"
GIB = 2**30
MEMORY_FACTOR = 2.0
"""Memory that a base needs, by the bytes of its weights in 4 bits: the rest holds caches, prompts and the desktop."""
SPEED_FACTOR = 3.5
"""The same for a GPU that is fast enough for it: every token reads all weights, and a GPU's bandwidth grows with its
memory (20 to 40 times its memory a second). docs/decisions.md derives both factors."""
CORES_PER_BILLION = 20
"""CPU cores that a base needs for each billion of weights outside its embeddings, by the same page."""
Fit = Literal["yes", "slow", "no"]
"""Whether a machine has the memory for a base (`no`: it has not), and is fast enough for suggestions while typing."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides about bases here."""

    gpu_bytes: int
    """Memory of the GPU; 0 for a machine without one."""
    cores: int
    memory: int
    """Bytes of main memory."""
    has_llama_cpp: bool = True
    """Whether GGUF files are computed as they are."""

    @classmethod
    def here(cls, gpu_bytes: int) -> "Machine":
        """This machine; its GPU's memory is known to the caller alone."""
        return cls(gpu_bytes, cores(), psutil.virtual_memory().total, find_spec("llama_cpp") is not None)

    def fits(self, base: Known) -> Fit:
        """Whether a base runs here, and fast enough."""
        if self.gpu_bytes:
            enough, fast = self.gpu_bytes, SPEED_FACTOR * base.four_bits <= self.gpu_bytes
        else:
            enough, fast = self.memory, CORES_PER_BILLION * (base.weights - base.embeddings) <= self.cores
        return "no" if MEMORY_FACTOR * base.four_bits > enough else "yes" if fast else "slow"

    def takes(self, copy: Found) -> bool:
        """Whether a copy can be loaded in its own form: GGUF files by llama.cpp, on the CPU."""
        return not copy.is_gguf or (self.has_llama_cpp and not self.gpu_bytes)

    def __str__(self) -> str:
        """As messages name it."""
        if self.gpu_bytes:
            return f"a GPU of {self.gpu_bytes / GIB:.0f} GiB"
        return f"{self.cores} CPU core{'s' if self.cores > 1 else ''}"


def named(base: str, gpu_bytes: int) -> str:
    """`base`, or what `auto` means; the reason is logged. Copies on the disk that cannot be used are left out."""
    if base != AUTO:
        return base
    machine, copies = Machine.here(gpu_bytes), on_disk.found()
    name, reason = choose(machine, copies)
    while any(copy.name == name for copy in copies) and not _is_usable(name):
        copies = [copy for copy in copies if copy.name != name]
        name, reason = choose(machine, copies)
    log.info("base %s: %s", shown(name), reason)
    return name


def _is_usable(name: str) -> bool:
    """Whether a copy holds a base, by its configuration and header."""
    try:
        bases.find(name)
    except StarlingError as error:
        log.warning("base %s is left out: %s", shown(name), error)
        return False
    return True


def choose(machine: Machine, copies: list[Found]) -> tuple[str, str]:
    """The base for a machine with these copies on its disk, as `--base` takes it, and one sentence that says why."""
    fast = [copy for copy in copies if machine.fits(copy.known) == "yes" and machine.takes(copy)]
    wanted = next((row for row in KNOWN if row.is_default and machine.fits(row) == "yes"), None)
    if fast:
        is_better = wanted is not None and KNOWN.index(wanted) < KNOWN.index(fast[0].known)
        more = f"; {wanted.id} would be better, and is not here" if is_better and wanted else ""
        return fast[0].name, f"the best one on this disk ({fast[0].place}) that is fast enough with {machine}{more}"
    if machine.gpu_bytes and wanted is not None:
        return wanted.id, f"the best that is fast enough with {machine}; it is fetched from the Hub once"
    return TINY.id, f"the bundled demonstration base: {_why_tiny(machine, wanted, copies)}"


def _why_tiny(machine: Machine, wanted: Known | None, copies: list[Found]) -> str:
    if wanted is None:
        slow = [copy for copy in copies if machine.fits(copy.known) == "slow" and machine.takes(copy)]
        here = f" ({shown(slow[-1].name)} is here: name it with --base if you can wait)" if slow else ""
        return f"with {machine} no released base is fast enough for suggestions while typing{here}"
    return f"none on this disk suits {machine}; {wanted.id} would: --base {wanted.id} fetches it"


def may_have_gpu() -> bool:
    """Whether it is worth importing torch, which takes seconds, to find a GPU."""
    devices = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's driver, the same under WSL, AMD's
    return sys.platform == "win32" or any(map(os.path.exists, devices))


def cores() -> int:
    """Number of physical cores available to this process; a second thread per core only slows the first one down."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(psutil.cpu_count(logical=False) or allowed, allowed)


def rows(machine: Machine, copies: list[Found]) -> list[tuple[Known, Fit, tuple[Found, ...]]]:
    """Every known base with its fit and its copies."""
    return [
        (row, machine.fits(row), tuple(copy for copy in copies if copy.known is row)) for row in (*known.KNOWN, TINY)
    ]
