"""Completion on a CUDA GPU at the released StarCoders' sizes: tokens per second, and share of the memory bandwidth.

    python benchmarks/gpu.py [--shapes 1b,3b,7b,15.5b] [--tokens 128] [--repeats 5] [--rank 16]
    python benchmarks/gpu.py --device cpu --shapes toy

Weights are random, in NF4 with double quantisation, with a random LoRA adapter on all linear layers. First
`transformers.generate` on peft's model answers, then Starling's service in the same process (with CUDA graphs, then
with drafts too, then without either), on the same prompt of at most --prompt tokens. Speed is that of decoding --tokens
tokens, without the prompt: for generate, the difference between an answer of --tokens tokens and one of a single token.

`roofline` is the share of the memory bandwidth that decoding reaches: bytes of all weights, adapter and head read for
one token, times tokens per second, over the measured bandwidth of a copy on the device (bytes read and written).
`warm_p50_ms` is the total time of a request of --warm-tokens tokens (20) after one more typed key.

Drafts on random weights are not informative: such a model may or may not repeat itself. Without a GPU the script prints
a message and ends.
"""

import argparse
import asyncio
import gc
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import ours
import random_weights
from passages import Passage, passages
from report import last_line, machine, p50, ratio, show
from shapes import SHAPES
from sides import Prompts

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded
from starling_server.completion.service import Service
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.models import bases, manifest
from starling_server.models.adapters import Adapter
from starling_server.models.bases import TINY_DIR, Base
from starling_server.models.families import table as families
from starling_server.models.manifest import BaseRecord, FimRecord, Manifest
from starling_server.models.tokenizer import load_tokenizer
from starling_server.prompt import window
from starling_server.schema import CompleteRequest
from starling_server.serve import start

import peft  # isort: skip
import torch  # isort: skip

FINGERPRINT = "random weights"
COPY_BYTES = 1 << 30
NAME = "random"
SIDES = (("ours", False, True), ("ours with drafts", True, True), ("ours without graphs", False, False))
"""Name, drafts, CUDA graphs."""


def load(name: str, device: torch.device) -> Loaded:
    """A random base of this shape, in the loader's form; deterministic."""
    torch.manual_seed(0)
    of = random_weights.config(*SHAPES[name])
    model: Any = random_weights.random_model(of, device, loading.compute_dtype(device), four_bits=True)
    if hasattr(model.transformer, "bias"):
        del model.transformer.bias
    tokenizer = load_tokenizer(bases.find("tiny"))
    base = Base(name, TINY_DIR, None, json.loads(of.to_json_string(use_diff=False)))
    return Loaded(base, FINGERPRINT, model, tokenizer, families.resolve("gpt_bigcode", tokenizer))


def adapted(loaded: Loaded, rank: int, folder: Path, context: int, tokens: int) -> Any:
    """peft's model with a random adapter, which is also written to `folder` in Starling's format."""
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
    )
    model: Any = peft.get_peft_model(loaded.model, config)
    model.save_pretrained(str(folder))
    record = Manifest(
        name=NAME,
        created=datetime.now(UTC),
        base=BaseRecord(id=loaded.base.id, fingerprint=FINGERPRINT, model_type="gpt_bigcode"),
        fim=FimRecord.of(loaded.fim, context, tokens),
    )
    (folder / manifest.MANIFEST).write_text(record.model_dump_json(), encoding="utf-8")
    return model.eval()


def weight_bytes(model: Any) -> int:
    """Bytes read in one token's forward pass: all parameters and 4-bit constants except tables of which one row is
    read.

    A tied table counts once, as the head.
    """
    tables = {id(model.get_input_embeddings().weight)} - {id(model.get_output_embeddings().weight)}
    tables |= {id(module.weight) for name, module in model.named_modules() if name.endswith("wpe")}
    total = 0
    for parameter in {id(p): p for p in model.parameters() if id(p) not in tables}.values():
        state = getattr(parameter, "quant_state", None)
        constants = [state.absmax, state.state2.absmax] if state is not None else []
        total += sum(t.numel() * t.element_size() for t in (parameter, *constants))
    return total


def bandwidth(device: torch.device) -> float:
    """Bytes per second read and written by a copy on the device."""
    size = COPY_BYTES if device.type == "cuda" else COPY_BYTES >> 4
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target, times = torch.empty_like(source), list[float]()
    for _ in range(7):
        _settle(device)
        started = perf_counter()
        target.copy_(source)
        _settle(device)
        times.append(perf_counter() - started)
    return 2 * size / p50(times[2:])


def generated(model: Any, prompt: Sequence[int], tokens: int, repeats: int) -> dict[str, Any]:
    """transformers.generate on peft's model."""
    whole, first = (_timed(model, prompt, count, repeats) for count in (tokens, 1))
    return {
        "tokens_per_second": round((tokens - 1) / (whole - first), 2) if whole > first else None,
        "first_ms": round(first * 1e3, 1),
    }


def _timed(model: Any, prompt: Sequence[int], tokens: int, repeats: int) -> float:
    """Median seconds of an answer."""
    ids, times = torch.tensor([list(prompt)], device=model.device), list[float]()
    for _ in range(repeats + 1):
        started = perf_counter()
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens,
                min_new_tokens=tokens,
            )  # fmt: skip
        made.tolist()
        times.append(perf_counter() - started)
    return p50(times[1:])  # the first run prepares kernels


def served(loaded: Loaded, adapter: Path, drafts: bool, graphs: bool) -> Service:
    """Starling's service over a base that is already in memory."""
    found, reader = Adapter(adapter, manifest.read(adapter)), loading.load
    loading.load = lambda _: loaded
    try:
        settings = ServiceConfig(prefetch=False, deadline_ms=ours.PATIENCE_MS)
        return ours.endless(
            start.start(
                ModelConfig(loaded.base.id, runner="torch", cuda_graphs=graphs),
                replace(settings, drafts=drafts),
                [found],
            )
        )
    finally:
        loading.load = reader


async def answered(service: Service, typed: Passage, tokens: int, warm: int, repeats: int) -> dict[str, Any]:
    """Decoding after one document, then requests one key apart."""
    opened, *keys = typed.cursors()
    answers = [await _ask(service, opened, tokens) for _ in range(repeats + 1)][1:]
    speeds = [(answer.usage.completion_tokens - 1) / answer.timings.decode_ms * 1e3 for answer in answers]
    warmed = [await _ask(service, cursor, warm) for cursor in keys][1:]
    return {
        "tokens_per_second": round(p50(speeds), 2),
        "warm_p50_ms": round(p50([answer.timings.total_ms for answer in warmed]), 1),
        "accepted_tokens": sum(answer.usage.accepted_tokens for answer in answers),
        "prompt_tokens": answers[0].usage.prompt_tokens,
    }


async def _ask(service: Service, cursor: tuple[str, str], tokens: int) -> Any:
    prefix, suffix = cursor
    return await service.complete(CompleteRequest(prefix=prefix, suffix=suffix, max_tokens=tokens, mode="block"))


def measure(name: str, asked: argparse.Namespace, device: torch.device, speed: float) -> dict[str, Any]:
    """Figures of one size; generate's model is freed before the service is created."""
    typed = passages(1, asked.keys)[0]
    context = asked.prompt + asked.tokens
    with TemporaryDirectory() as room:
        folder = Path(room) / NAME
        loaded = load(name, device)
        model = adapted(loaded, asked.rank, folder, context, asked.tokens)
        size = weight_bytes(model)
        prompts = Prompts(loaded.tokenizer, loaded.fim, window.budget(context, asked.tokens, loaded.fim.sentinels))
        prompt = prompts.ids(*next(typed.cursors()))
        row: dict[str, Any] = {"generate": generated(model, prompt, asked.tokens, asked.repeats)}
        del model, loaded, prompts
        _free(device)
        for side, drafts, graphs in SIDES:
            if device.type != "cuda" and not graphs:
                continue  # there are no CUDA graphs to turn off
            service = served(load(name, device), folder, drafts, graphs)
            row[side] = asyncio.run(answered(service, typed, asked.tokens, asked.warm_tokens, asked.repeats))
            service.close()
            del service
            _free(device)
    for figures in row.values():
        rate = figures["tokens_per_second"]
        figures["roofline"] = round(size * rate / speed, 3) if rate else None
    rates = {side: figures["tokens_per_second"] for side, figures in row.items()}
    found = {"sides": row, "weight_gb": round(size / 1e9, 3), "ours/generate": ratio(rates["ours"], rates["generate"])}
    if "ours without graphs" in rates:
        found["graphs/eager"] = ratio(rates["ours"], rates["ours without graphs"])
    return found


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="1b,3b,7b,15.5b")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--prompt", type=int, default=1024, help="at most; the window's edges are coarse")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--warm-tokens", type=int, default=20)
    parser.add_argument("--keys", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rank", type=int, default=16)
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA GPU here: nothing was measured (--device cpu --shapes toy tries the script).")
        last_line({"benchmark": "gpu", "skipped": "no CUDA GPU"})
        return
    where, device = machine(), torch.device(asked.device)
    speed = bandwidth(device)
    found = dict[str, Any]()
    for name in asked.shapes.split(","):
        found[name] = measure(name, asked, device, speed)
        show(f"{name}, ours/generate {found[name]['ours/generate']}", found[name]["sides"])
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else None
    run = {"benchmark": "gpu", "gpu": gpu, "copy_gb_per_second": round(speed / 1e9, 1), "rank": asked.rank}
    last_line({**run, "shapes": found, "machine": where})


if __name__ == "__main__":
    main()
