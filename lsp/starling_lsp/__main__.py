"""`python -m starling_lsp` is `starling-lsp`."""

from starling_server.entry import run


def main() -> None:
    """Run the command; a missing extra is named with the command that installs it."""
    run("starling-lsp", "starling_lsp.cli:starling_lsp", extra="server")


if __name__ == "__main__":
    main()
