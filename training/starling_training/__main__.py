"""Entry point of `python -m starling_training`, the same as `train-copilot`."""

import sys

from starling_server.command import run


def main() -> None:
    """Run the command. If an extra is missing, the error gives the command that installs it.

    `export` and `bases` as the first argument are commands; any other argument is a SOURCE for training.
    """
    if sys.argv[1:2] == ["export"]:
        run("train-copilot export", "starling_training.export.export_cli:export", "train", sys.argv[2:])
    if sys.argv[1:2] == ["bases"]:
        run("train-copilot bases", "starling_training.bases_cli:bases", "train", sys.argv[2:])
    run("train-copilot", "starling_training.train_cli:train_copilot", extra="train")


if __name__ == "__main__":
    main()
