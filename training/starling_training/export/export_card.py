"""The model card of an export."""

from pathlib import Path

from starling_server.models import bases
from starling_server.models.adapters import Adapter
from starling_server.models.bases import Base
from starling_training.export.export_config import Choice
from starling_training.report import model_card


def merged(adapter: Adapter, base: Base, choice: Choice) -> str:
    """The card of a merged model."""
    return "\n".join(
        [
            *_front(base),
            f"# {adapter.name}: {_name(base)} with an adapter merged in",
            "",
            f"The adapter was trained with fill-in-the-middle on one code base and added to the base's weights "
            f"({choice.onto}: {choice.reason}). bfloat16; the base's own tokenizer and prompt format.",
            "",
            *_losses(choice),
            "Loading it in 4 bits again (`--quantize nf4`, or `auto` on a GPU) rounds the weights once more.",
            "",
            *_notes(base),
        ]
    )


def gguf(adapter: Adapter, base: Base, model: str, lora: str) -> str:
    """The card of a base and a LoRA as GGUF."""
    return "\n".join(
        [
            *_front(base),
            f"# {adapter.name}: {_name(base)} and an adapter for llama.cpp",
            "",
            "```sh",
            f"llama-server -m {model} --lora {lora}",
            "```",
            "",
            f"`{model}` is the bare base, `{lora}` the adapter, trained with fill-in-the-middle on one code base.",
            "",
            *_notes(base),
        ]
    )


def _front(base: Base) -> list[str]:
    named = model_card.licence(base)
    return ["---", f"license: {named or 'other'}", "tags: [code, fill-in-the-middle]", "---", ""]


def _losses(choice: Choice) -> list[str]:
    if not choice.losses:
        return []
    rows = [f"| {name} | {value:.4f} |" for name, value in choice.losses.items()]
    return ["| on held-out middles | nats per token |", "| --- | --- |", *rows, ""]


def _notes(base: Base) -> list[str]:
    named = model_card.licence(base)
    says = f"its card says {named}" if named else "look it up where the base comes from"
    return [
        f"**Licence.** This is a derivative of {_name(base)}, whose licence applies: {says}. StarCoder's licences "
        "include use restrictions that must be passed on.",
        "",
        "**Disclosure.** The model can reproduce code that it was trained on. "
        "Secrets that were recognised were replaced before training.",
        "",
    ]


def _name(base: Base) -> str:
    """The base's name; for a folder only its last part, since the parent folders are private."""
    if base.id == bases.TINY:
        return "Starling's bundled base"
    return base.path.name if Path(base.id).expanduser().is_dir() else base.id
