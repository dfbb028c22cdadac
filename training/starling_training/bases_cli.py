"""`train-copilot bases`: the known bases, what fits this machine, and what is on its disk already."""

import click
from rich.console import Console
from rich.table import Table

from starling_server.models.catalogue import auto, on_disk
from starling_server.models.catalogue.auto import Fit, Machine
from starling_server.models.catalogue.known import Known
from starling_server.models.catalogue.on_disk import Found
from starling_training.console import plain


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def bases() -> None:
    """List the known bases, the better first, and what --base auto takes on this machine.

    GB is the size of the weights in 4 bits with 16-bit embeddings. "here" says whether this machine has the memory for
    a base (no: it has not) and is fast enough for suggestions while typing (slow: it is not). "on this disk" names the
    program in whose folder a copy was found by its name: the Hugging Face cache, llama.cpp, Ollama or make real-bases;
    its path, below the table, is what --base takes. Any other base of a supported architecture can be named with
    --base, too.
    """
    console = Console()
    machine, copies = Machine.here(_gpu_bytes()), on_disk.found()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("base", "licence", "languages", "GB", "here", "on this disk"):
        wraps = title in ("base", "licence")  # on a narrow terminal; the others would lose what they say
        table.add_column(title, justify="right" if title == "GB" else "left", no_wrap=not wraps, overflow="fold")
    for row, fit, own in auto.rows(machine, copies):
        table.add_row(*_cells(row, fit, own))
    console.print(table)
    for copy in copies:
        console.print(f"{copy.known.id} from {copy.place}: --base {plain(copy.name)}", soft_wrap=True)
    name, reason = auto.choose(machine, copies)
    console.print(f"--base auto is [bold]{plain(name)}[/bold] here: {plain(reason)}.", soft_wrap=True)


def _cells(row: Known, fit: Fit, own: tuple[Found, ...]) -> tuple[str, ...]:
    licence = row.licence + (", gated" if row.gated else "")
    places = ", ".join(dict.fromkeys(copy.place for copy in own)) or ("bundled" if row.id == "tiny" else "")
    return row.id, licence, row.languages, f"{row.four_bits / 1e9:.1f}", fit, places


def _gpu_bytes() -> int:
    if not auto.may_have_gpu():
        return 0
    from starling_server.backends.torch import device

    return device.gpu_bytes()
