"""Command line of `train-copilot export`: from an adapter to a merged model or GGUF files."""

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
    help="Merge the adapter into its base and write a bfloat16 model in the Hugging Face format. bf16: merge into the "
    "original weights. dequantised: merge into the dequantised 4-bit weights, which it was trained on. auto, also "
    "without a value: the one with the lower loss on held-out holes.",
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
    help="Weight format of the GGUF model.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Output directory. Default: NAME-merged or NAME-gguf in the current directory.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output, once the new one is complete.")
@click.option(
    "--holes",
    default=100,
    show_default=True,
    help="Number of held-out holes for --merge auto; 0 skips the measurement.",
)
@click.option("--base", default="auto", help="Base of the adapter, if it has moved. Default: as in training.")
@click.option("--device", default="auto", show_default=True, help="Compute device: auto, cpu, cuda or cuda:N.")
def export(adapter: str, **values: Any) -> None:
    """Convert ADAPTER (a name, or a directory that train-copilot wrote) to formats of other programs.

    \b
    Try it:
      train-copilot export project --merge                 a model for transformers, vLLM and --base
      train-copilot export project --gguf                  base and LoRA for llama-server -m ... --lora ...
      train-copilot export project --merge --gguf          also one GGUF file that needs no LoRA
      train-copilot export project --merge bf16 --output ~/models/project

    An adapter is trained on one form of the base's weights, usually the 4-bit form, and fits that form best.
    --merge auto measures the loss on the original weights too, on the files held out of training, and prints the
    result. If their folder no longer exists, it uses the form that the adapter was trained on.

    The output contains what the adapter learnt from your code. The base's licence applies to it.

    Every flag can also be set in the environment: STARLING_MERGE, STARLING_OUTPUT and so on.
    """
    config = ExportConfig(adapter=adapter, **values)
    from rich.console import Console

    from starling_training.export.export_run import run

    run(config, Console())
