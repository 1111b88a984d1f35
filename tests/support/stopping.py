"""Stops trainings by signals in the middle of an epoch or of a round of iterations."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from calogen.process import Terminated, orderly
from calogen.training import calls as compiled
from calogen.training import train

ENDS = {signal.SIGINT: (KeyboardInterrupt, None), signal.SIGTERM: (Terminated, 143), signal.SIGUSR1: (Terminated, 75)}
"""Exception and exit code of each signal that stops a training."""


@contextmanager
def stopped_by(monkeypatch: pytest.MonkeyPatch, number: signal.Signals, calls: int) -> Iterator[None]:
    """Sends a signal to this process after so many calls for steps; the block must end by it.

    Where the trainer is not compiled by XLA, every call is one step.
    """
    told, taken = train._told_steps, count(1)

    def send(*given: object) -> bool:
        if next(taken) == calls:
            signal.raise_signal(number)
        return told(*given)  # type: ignore[arg-type]

    error, code = ENDS[number]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    try:
        with monkeypatch.context() as patch, pytest.raises(error) as raised, orderly():
            patch.setattr(compiled, "_CALL_SECONDS", 0.0)
            patch.setattr(train, "_told_steps", send)
            yield
    finally:
        signal.signal(signal.SIGINT, before)
    assert getattr(raised.value, "code", None) == code
    assert next(taken) == calls + 1, "it stops at once"
