"""The OpenAPI document holds: Schemathesis asks a real serve-copilot whatever the document allows, and what it doesn't.

`STARLING_FUZZ_EXAMPLES=500` asks that many for each operation; the number here keeps it short.
"""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

log = logging.getLogger(__name__)
EXAMPLES = os.environ.get("STARLING_FUZZ_EXAMPLES", "8")
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method",
)  # fmt: skip


@pytest.fixture
def hasty(tmp_path: Path) -> Generator[str]:
    """A server whose answers are short, since a generated request may ask for the longest."""
    environment = {**os.environ, "STARLING_DATA_DIR": str(tmp_path)}
    flags = ("--base", "tiny", "--port", "0", "--max-tokens", "4", "--deadline-ms", "100", "--no-prefetch")
    with subprocess.Popen(
        [sys.executable, "-m", "starling_server", *flags], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("Listening on ").strip()
        process.terminate()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_answer_is_outside_the_document(hasty: str, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{hasty}/openapi.json",
        "--max-examples", EXAMPLES, "--checks", ",".join(CHECKS), "--seed", "1", "--no-color",
        "--generation-database", "none", "--suppress-health-check", "all", "--phases", "examples,coverage,fuzzing",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    cases = re.search(r"(\d+) generated", done.stdout)
    assert cases is not None, done.stdout[-2000:]
    log.info("%s cases", cases[1])
    assert int(cases[1]) > int(EXAMPLES)
