"""`python -m starling_training.base` makes the bundled base."""

from starling_server.command import run


def main() -> None:
    """Run the command; a missing extra is named with the command that installs it."""
    run("python -m starling_training.base", "starling_training.base.base_cli:base", extra="dev")


if __name__ == "__main__":
    main()
