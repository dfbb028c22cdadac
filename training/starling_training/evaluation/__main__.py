"""`python -m starling_training.evaluation` is `eval-copilot`."""

import sys

from starling_server.command import run

WORDS = ("history", "benchmark", "tests", "compare")


def main() -> None:
    """Run the command: one of the words in the first place means another one than `eval-copilot SOURCE`."""
    word = sys.argv[1] if sys.argv[1:] and sys.argv[1] in WORDS else ""
    if word:
        run(f"eval-copilot {word}", f"starling_training.evaluation.eval_cli:{word}", "train", sys.argv[2:])
    run("eval-copilot", "starling_training.evaluation.eval_cli:holes", extra="train")


if __name__ == "__main__":
    main()
