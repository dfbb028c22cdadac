"""How every command begins and ends: late imports, one sentence for a user's mistake, exit statuses.

0 done, 2 something the user can mend (as click does for wrong flags), 130 interrupted.
"""

import os
import sys
from importlib import import_module

import click

from starling_server.errors import StarlingError
from starling_server.printable import printable

EXTRAS = {"gguf": "gguf", "llama_cpp": "ggml"}
"""Packages with their own extra, for any command."""
THIRD_PARTY = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "trl",
    "fastapi",
    "uvicorn",
    "accelerate",
    "aiolimiter",
    "datasets",
    "detect_secrets",
    "filelock",
    "huggingface_hub",
    "numpy",
    "pathspec",
    "prometheus_client",
    "psutil",
    "pyarrow",
    "pythonjsonlogger",
    "rapidfuzz",
    "rensa",
    "safetensors",
    "stamina",
    "tokenizers",
    "tree_sitter",
    *EXTRAS,
    "jinja2",
    "matplotlib",
)


def run(name: str, target: str, extra: str, arguments: list[str] | None = None) -> None:
    """Run the click command at `target` (`module:attribute`) under the program name `name`, and exit.

    `arguments` are those after the name, the process's own where they are left out.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else tokenizers warns at every later fork
    _limit_spinning()
    module, attribute = target.split(":")
    try:
        command = getattr(import_module(module), attribute)
        status = command.main(arguments, prog_name=name, standalone_mode=False)
    except ModuleNotFoundError as error:
        sys.exit(_missing(error, extra))
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except StarlingError as error:
        click.echo(f"{name}: {printable(str(error))}", err=True)
        status = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"{name}: interrupted.", err=True)
        status = 130
    sys.exit(status if isinstance(status, int) else 0)


def _limit_spinning() -> None:
    """Let OpenMP's idle threads spin for about a tenth of a millisecond, unless the environment says otherwise.

    As it comes they spin for much longer, on shared cores against the thread that they wait for. Threads that sleep at
    once take longer to wake than a small matrix product takes (`docs/experiments.md`, "Threads that wait").
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "10000"


def _missing(error: ModuleNotFoundError, extra: str) -> int:
    """Exit status after naming the extra that brings the missing package; re-raises what is not ours to explain."""
    package = (error.name or "").partition(".")[0]
    if package not in THIRD_PARTY:
        raise error
    extra = EXTRAS.get(package, extra)
    click.echo(f"This command needs the package {error.name}: pip install 'starling[{extra}]'", err=True)
    return 2
