"""Entry point of `python -m starling_lsp` and `starling-lsp`."""

import sys

from starling_server.command import run


def main() -> None:
    """Run the command; if an extra is missing, the error gives the command that installs it.

    With `stats` as first argument, run the statistics command instead.
    """
    if sys.argv[1:2] == ["stats"]:
        run("starling-lsp stats", "starling_lsp.statistics.table:stats", "server", sys.argv[2:])
    run("starling-lsp", "starling_lsp.cli:starling_lsp", extra="server")


if __name__ == "__main__":
    main()
