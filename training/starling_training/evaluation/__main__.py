"""Entry point of `python -m starling_training.evaluation`, the same as `eval-copilot`."""

import sys

from starling_server.command import run

WORDS = ("history", "benchmark", "tests", "compare")


def main() -> None:
    """Run the command. Without a subcommand as the first argument, run `eval-copilot SOURCE`."""
    word = sys.argv[1] if sys.argv[1:] and sys.argv[1] in WORDS else ""
    if word:
        run(f"eval-copilot {word}", f"starling_training.evaluation.eval_cli:{word}", "train", sys.argv[2:])
    run("eval-copilot", "starling_training.evaluation.eval_cli:holes", extra="train")


if __name__ == "__main__":
    main()
