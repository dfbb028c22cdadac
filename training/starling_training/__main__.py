"""`python -m starling_training` is `train-copilot`."""

from starling_server.entry import run


def main() -> None:
    """Run the command; a missing extra is named with the command that installs it."""
    run("train-copilot", "starling_training.cli:train_copilot", extra="train")


if __name__ == "__main__":
    main()
