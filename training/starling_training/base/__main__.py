"""Entry point of `python -m starling_training.base`, which builds the bundled base."""

from starling_server.command import run


def main() -> None:
    """Run the command. If an extra is missing, the error gives the command that installs it."""
    run("python -m starling_training.base", "starling_training.base.base_cli:base", extra="dev")


if __name__ == "__main__":
    main()
