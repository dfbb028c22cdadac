"""`starling-lsp stats`: a table of suggestion outcomes."""

import click
from rich.console import Console
from rich.table import Table

from starling_lsp.statistics import journal

COLUMNS = ("language", "adapter", "shown", "accepted", "partly", "typed", "dismissed", "after 30 s", "after 5 min")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def stats() -> None:
    """Show how many suggestions were accepted, by language and adapter, in all editors of this user.

    \b
    shown      visible for at least 300 ms
    accepted   inserted as a whole
    partly     inserted in part, by word or by line
    typed      typed in full by hand
    dismissed  neither inserted nor typed
    after ...  share of the accepted lines that were unchanged after this time

    The counts are stored on this machine only and contain no code. The option statistics = false turns them off.
    """
    rows = journal.rows()
    if not rows:
        click.echo(f"No suggestions were shown yet. The counts will be stored in {journal.path()}.")
        return
    table = Table(*COLUMNS, title=str(journal.path()), title_justify="left")
    for row in rows:
        counts = (row.accepted, row.partly, row.typed, row.dismissed)
        shares = [f"{count} ({count / row.shown:.0%})" for count in counts]
        table.add_row(row.language, row.adapter, str(row.shown), *shares, _share(row.kept_30), _share(row.kept_300))
    Console().print(table)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
