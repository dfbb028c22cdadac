"""`train-copilot export`: an adapter in, a merged model or GGUF files out."""

from pathlib import Path
from typing import Any

import click

from starling_server.backends.llamacpp.gguf_export import KINDS
from starling_training.export.export_config import MERGES, ExportConfig


@click.command(
    "export",
    context_settings={
        "auto_envvar_prefix": "STARLING",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@click.argument("adapter")
@click.option(
    "--merge",
    type=click.Choice(MERGES),
    is_flag=False,
    flag_value="auto",
    help="Add the adapter to its base's weights and write a model in Hugging Face's layout, in bfloat16. bf16: to the "
    "original weights. dequantised: to what the 4-bit weights stand for, which is what it was trained over. auto, "
    "also where no word follows: the one with the lower loss on held-out holes.",
)
@click.option(
    "--gguf",
    is_flag=True,
    help="Write files for llama.cpp: the base, and the adapter as a GGUF LoRA. With --merge: the merged model.",
)
@click.option(
    "--gguf-type",
    type=click.Choice(KINDS),
    default="f16",
    show_default=True,
    help="How matrices are kept in the GGUF model.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The folder to write. Default: NAME-merged or NAME-gguf in the current folder.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there, once the new one is whole.")
@click.option(
    "--holes", default=100, show_default=True, help="Held-out holes that --merge auto chooses by; 0 measures nothing."
)
@click.option("--base", default="auto", help="Where the adapter's base is now. Default: where it was in training.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def export(adapter: str, **values: Any) -> None:
    """Make of ADAPTER (a name or a folder that train-copilot wrote) what other programs load.

    \b
    Try it:
      train-copilot export project --merge                 a model for transformers, vLLM and --base
      train-copilot export project --gguf                  base and LoRA for llama-server -m ... --lora ...
      train-copilot export project --merge --gguf          also one GGUF file that needs no LoRA
      train-copilot export project --merge bf16 --output ~/models/project

    An adapter was trained over one form of the base's weights, usually their 4-bit form, and fits that form best;
    how much it loses over the original ones is a matter of measuring. --merge auto measures on the files that were
    held out of training, where their folder is still there, and says what it found; where it cannot, it takes
    the form that the adapter was trained over.

    What is written holds what the adapter has learnt from your code; the base's licence goes with it.

    Every flag can also be set in the environment: STARLING_MERGE, STARLING_OUTPUT and so on.
    """
    config = ExportConfig(adapter=adapter, **values)
    from rich.console import Console

    from starling_training.export.export_run import run

    run(config, Console())
