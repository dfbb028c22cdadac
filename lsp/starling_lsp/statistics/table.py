"""`starling-lsp stats`: a table of suggestion outcomes."""

import click
from rich.console import Console
from rich.table import Table

from starling_lsp.statistics import journal

COLUMNS = ("language", "adapter", "shown", "accepted", "partly", "typed", "dismissed", "after 30 s", "after 5 min")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def stats() -> None:
    """What became of suggestions in all editors of this user, by language and adapter.

    Shown is what was in view for 300 ms; typed was typed to its end without a key that accepts. The last columns are
    the share of accepted lines that were still there. The counts are kept on this machine only and hold no code; the
    option statistics = false keeps none.
    """
    rows = journal.rows()
    if not rows:
        click.echo(f"Nothing was shown yet; {journal.path()} will hold the counts.")
        return
    table = Table(*COLUMNS, title=str(journal.path()), title_justify="left")
    for row in rows:
        counts = (row.accepted, row.partly, row.typed, row.dismissed)
        shares = [f"{count} ({count / row.shown:.0%})" for count in counts]
        table.add_row(row.language, row.adapter, str(row.shown), *shares, _share(row.kept_30), _share(row.kept_300))
    Console().print(table)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
