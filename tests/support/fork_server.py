"""A process that has imported torch and its company, and runs our programs in forks of itself.

    python fork_server.py FD

Each message on the socket FD is an `Order` in JSON, with the three files that become the program's standard streams;
the answer is the program's process id. The server takes on nothing of ours, so a program imports our modules itself,
and nothing is computed before a fork: threads do not survive one.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
from typing import Any

IMPORTED = (
    "torch", "bitsandbytes", "transformers.modeling_utils", "transformers.models.auto.modeling_auto",
    "transformers.models.gpt_bigcode.modeling_gpt_bigcode", "transformers.quantizers.quantizer_bnb_4bit",
    "transformers.trainer", "peft", "datasets", "trl.trainer.sft_trainer", "tokenizers", "fastapi", "uvicorn",
    "prometheus_client", "pygls.lsp.server", "matplotlib.figure", "detect_secrets", "tree_sitter", "psutil",
)  # fmt: skip
"""What a start costs most of its seconds, all of it others'."""
BYTES = 1 << 20


def main(control: socket.socket) -> None:
    """Start what is asked for until the asking side is gone; returns in a fork, once it is the program's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    while True:
        message, streams, _, _ = socket.recv_fds(control, BYTES, 3)
        if not message:
            os._exit(0)
        child = orphan()
        if not child:
            control.close()
            become(json.loads(message), streams)
            return
        for stream in streams:
            os.close(stream)
        control.sendall(str(child).encode())


def orphan() -> int:
    """Fork a child whose parent has ended, so that the tests' process adopts it: its id, or 0 in the child."""
    ours, theirs = os.pipe()
    between = os.fork()
    if between:
        os.close(theirs)
        with os.fdopen(ours) as answer:
            child = int(answer.read())
        os.waitpid(between, 0)
        return child
    between = os.getpid()
    if child := os.fork():
        os.write(theirs, str(child).encode())
        os._exit(0)
    os.close(ours)
    os.close(theirs)
    while os.getppid() == between:
        time.sleep(0.001)
    return 0


def become(order: dict[str, Any], streams: list[int]) -> None:
    """Take on the program's streams, folder, environment and arguments."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    if order["session"]:
        os.setsid()
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    tempfile.tempdir = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w")):
        old = getattr(sys, name)
        new = open(number, mode, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115 - for good
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    sys.orig_argv, sys.argv = order["command"], order["command"][1:]


def run() -> None:
    """Run `-m MODULE` or a file, as Python's command line does."""
    if sys.argv[0] == "-m":
        del sys.argv[0]
        sys.path[0] = os.getcwd()
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(sys.argv[0])
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
    run()
