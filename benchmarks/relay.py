"""serve-copilot as a relay to another server, against the same model in its own process.

    python benchmarks/relay.py [--prompts 60] [--cancels 20] [--adapter DIR]

Starts llama-server (benchmarks/peers.py builds it) with the bundled base exported as f32 GGUF, with `--adapter` also
its LoRA, and a serve-copilot as its relay, with a gate that observes the connections between the two. Sends the same
requests to a serve-copilot with an in-process model and to the relay; cancels requests and measures when the connection
to the other server is closed; shuts the gate and times the refusals and the recovery. The same is measured with
Starling's own server as the other server. The last line is JSON.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from llama_server import serving

from starling_server.backends.llamacpp.gguf_export import export_cache
from starling_server.client import Client
from starling_server.errors import RequestError
from starling_server.models import bases
from starling_server.schema import CompleteRequest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.relay import Gate, agreeing, cancel_ms, requests, serve


async def outage(relay: Client, gate: Gate) -> dict[str, Any]:
    """The other server is unreachable for 3 seconds: the answers during that time, and the recovery time afterwards."""
    gate.shut()
    statuses, waits, began = list[int](), list[float](), time.perf_counter()
    while time.perf_counter() - began < 3:
        asked = time.perf_counter()
        statuses.append(await _status(relay))
        waits.append((time.perf_counter() - asked) * 1e3)
        await asyncio.sleep(0.05)
    gate.open()
    began = time.perf_counter()
    while await _status(relay) != 200:  # noqa: ASYNC110 - polls the status
        await asyncio.sleep(0.05)
    return {
        "statuses_while_down": sorted(set(statuses)), "requests_while_down": len(statuses),
        "refusal_p50_ms": round(median(waits), 1), "refusal_max_ms": round(max(waits), 1),
        "back_after_s": round(time.perf_counter() - began, 2),
    }  # fmt: skip


async def _status(relay: Client) -> int:
    try:
        await relay.complete(CompleteRequest(prefix="import os\n", max_tokens=4))
    except RequestError as error:
        return error.status
    return 200


async def measure(target: str, flags: Sequence[str], direct: str, prompts: int, cancels: int) -> dict[str, Any]:
    """Figures of the relay to the server at `target`, against the one at `direct` with the model in its process."""
    async with Gate(target) as gate:
        with contextlib.ExitStack() as ends:
            engine = ("--engine", f"openai:{gate.url}/v1", *flags)
            url = await asyncio.to_thread(ends.enter_context, serve(*engine))
            async with Client(url) as relay, Client(direct) as own:
                same = await agreeing(own, relay, requests(prompts))
                times = sorted([await cancel_ms(relay, gate) for _ in range(cancels)])
                return {
                    "prompts": prompts, "same": same, "cancels": cancels,
                    "cancel_p50_ms": round(median(times), 1), "cancel_max_ms": round(times[-1], 1),
                    **await outage(relay, gate),
                }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--cancels", type=int, default=20)
    parser.add_argument("--adapter", type=Path)
    asked = parser.parse_args()
    base = bases.find("tiny")
    fingerprint = bases.fingerprint(base)
    file = export_cache.base(base, fingerprint, "f32")
    flags = ("--adapter", str(asked.adapter)) if asked.adapter else ()
    more = list[str]()
    if asked.adapter:
        more += ["--lora", str(export_cache.adapter(asked.adapter, base, fingerprint)), "--alias", asked.adapter.name]
    figures = dict[str, Any]()
    with serve(*flags) as direct:
        figures["starling"] = asyncio.run(measure(direct, flags, direct, asked.prompts, asked.cancels))
        with serving(file, base.context, *more) as (url, _):
            figures["llama-server"] = asyncio.run(measure(url, flags, direct, asked.prompts, asked.cancels))
    print(json.dumps({"adapter": bool(asked.adapter), **figures}))


if __name__ == "__main__":
    main()
