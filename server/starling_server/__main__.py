"""`python -m starling_server` is `serve-copilot`."""

from starling_server.command import run


def main() -> None:
    """Run the command; a missing extra is named with the command that installs it."""
    run("serve-copilot", "starling_server.serve.cli:serve_copilot", extra="server")


if __name__ == "__main__":
    main()
