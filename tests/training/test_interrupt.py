"""What Ctrl-C does, by when it comes."""

import signal
from contextlib import suppress

import pytest

from starling_training.interrupt import Interrupt


def test_one_that_a_library_swallowed_still_ends_the_run() -> None:
    with Interrupt() as interrupt:
        with suppress(KeyboardInterrupt):  # as some libraries' imports do
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt.soften()


def test_the_first_asks_and_the_second_ends() -> None:
    with Interrupt() as interrupt:
        interrupt.soften()
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_was_there_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
