"""`python -m starling_training` is `train-copilot`."""

import sys

from starling_server.command import run


def main() -> None:
    """Run the command; a missing extra is named with the command that installs it.

    The word `export` in the first place means the other command; everything else is train-copilot's SOURCE.
    """
    if sys.argv[1:2] == ["export"]:
        run("train-copilot export", "starling_training.export.export_cli:export", "train", sys.argv[2:])
    run("train-copilot", "starling_training.train_cli:train_copilot", extra="train")


if __name__ == "__main__":
    main()
