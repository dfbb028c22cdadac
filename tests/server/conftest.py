"""A server for what is meant badly: one for all tests of that kind."""

from collections.abc import Generator

import pytest
from support.serving import Server, protected


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A real serve-copilot with tokens that logs all it does, and lets a client ask as often as it likes."""
    with protected(tmp_path_factory.mktemp("target"), "--client-rate", "0", "--verbose", "--no-prefetch") as server:
        yield server
