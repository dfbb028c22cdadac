"""`python -m starling_lsp` is `starling-lsp`."""

import sys

from starling_server.command import run


def main() -> None:
    """Run the command; a missing extra is named with the command that installs it.

    The word `stats` in the first place means the other command.
    """
    if sys.argv[1:2] == ["stats"]:
        run("starling-lsp stats", "starling_lsp.statistics.table:stats", "server", sys.argv[2:])
    run("starling-lsp", "starling_lsp.cli:starling_lsp", extra="server")


if __name__ == "__main__":
    main()
