"""Presets for `train-copilot`: named sets of defaults, overridden by any flag."""

from typing import Any

import click

QUICK = {"max_minutes": 4.0, "holes": 40}
P100 = {
    "base": "bigcode/starcoderbase-1b",
    "method": "lora",
    "rank": 4,
    "alpha": 8,
    "dropout": 0.1,
    "targets": "c_proj,c_attn,q_attn,c_fc",
    "learning_rate": 5e-4,
    "warmup": 30,
    "weight_decay": 0.01,
    "max_steps": 100,
    "batch": 4,
    "accumulation": 1,
    "context_tokens": 2048,
    "fim_rate": 0.5,
    "spm_rate": 0.5,
    "loss": "all",
}
"""Hugging Face's "personal copilot" run of starcoderbase-1b on hf-stack-v1 (blog and notebook of October 2023)."""
A100_15B = {
    "base": "bigcode/starcoder",
    "method": "qlora",
    "rank": 32,
    "alpha": 64,
    "targets": "all-linear",
    "max_steps": 2000,
    "batch": 4,
    "accumulation": 4,
    "context_tokens": 2048,
    "fim_rate": 0.5,
    "spm_rate": 0.5,
    "loss": "all",
}
"""Hugging Face's QLoRA run of StarCoder 15.5B on one A100 of 40 GB, from the same project."""
PRESETS: dict[str, dict[str, Any]] = {"quick": QUICK, "p100": P100, "a100-15b": A100_15B}


def take(ctx: click.Context, _: click.Parameter, name: str | None) -> str | None:
    """Make the preset's values the defaults of all other flags."""
    if name:
        ctx.default_map = PRESETS[name]
    return name


OPTION = click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    is_eager=True,
    callback=take,
    help="Set of defaults; explicit flags override it. quick: four minutes. p100: the published starcoderbase-1b run. "
    "a100-15b: the published QLoRA of StarCoder 15.5B.",
)
