"""An adapter folder that is copied, slowly and with pauses, while a real server watches it."""

import time
from pathlib import Path

import pytest
from support import adapter
from support.serving import ADMIN, Server

from starling_server.models import bases

NAMES = ("manifest.json", "adapter_config.json", "adapter_model.safetensors")
"""The order in which a copy does the most harm: the weights are last, and the manifest is there at once."""
PAUSE = 5.0
"""Seconds: two scans and more."""


def test_a_slow_copy_is_not_called_damaged_and_then_served(target: Server, tmp_path: Path) -> None:
    source = adapter.write(tmp_path / "slow", bases.find("tiny"))
    folder = target.folder / "data" / "adapters" / "slow"
    folder.mkdir(parents=True)
    said = list[str]()
    with target.client(ADMIN) as http:

        def ask() -> int:
            named = http.post("/complete", json={"prefix": "x = ", "adapter": "slow", "max_tokens": 1})
            said.extend([named.text, http.post("/v1/adapters/slow").text, http.get("/v1/adapters").text])
            return named.status_code

        for name in NAMES:
            data = (source / name).read_bytes()
            with (folder / name).open("wb") as stream:
                for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                    stream.write(part)
                    stream.flush()
                    assert (ask() == 200) == (name == NAMES[-1] and part == data[len(data) // 2 :])
                    if name == NAMES[-1] and part != data[len(data) // 2 :]:
                        time.sleep(PAUSE)
                        assert ask() == 404
    assert "if they are being copied" in said[0] + said[1]
    assert [text for text in (*said, target.log()) if "again on" in text or "damaged" in text or "train" in text] == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_while_it_is_copied_an_operator_is_told_to_wait(target: Server, method: str) -> None:
    folder = target.folder / "data" / "adapters" / f"half-{method.lower()}"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{", encoding="utf-8")
    with target.client(ADMIN) as http:
        answer = http.request(method, f"/v1/adapters/{folder.name}")
    assert answer.status_code == (409 if method == "POST" else 404)
    assert answer.headers.get("retry-after") == ("10" if method == "POST" else None)
    (folder / "manifest.json").unlink()
    folder.rmdir()
