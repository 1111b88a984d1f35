"""Progress of long work: a bar on a terminal, or a line now and then in a log file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Timer
from time import monotonic
from typing import TextIO, cast

from rich import progress as rich_progress
from rich.console import Console

from calogen.process import Lenient, tell

_QUIET_SECONDS = 5.0  # work that ends earlier shows no progress
_LINE_SECONDS = 10.0  # between two lines of a log file


class Progress:
    """Progress of one piece of work, as `progress` gives it."""

    def __init__(self, description: str, total: int, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._done, self._note = 0, ""
        self._start = monotonic()
        self._next_line = self._start + _LINE_SECONDS
        self._bar: rich_progress.Progress | None = None
        self._timer: Timer | None = None
        if sys.stderr is not None and (stream := Lenient(sys.stderr)).isatty():
            self._open_bar(stream)

    def advance(self, n: int = 1) -> None:
        """Count `n` more units of work as done."""
        self._done += n
        self._update()

    def note(self, text: str) -> None:
        """Show a short text beside the numbers, e.g. `loss 1.2e-3`, until the next text."""
        self._note = text
        self._update()

    def close(self) -> None:
        """Show the last state and stop."""
        if self._bar is not None and self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            self._bar.stop()
        elif monotonic() - self._start >= _QUIET_SECONDS:
            self._print_line()

    def _update(self) -> None:
        if self._bar is not None:
            self._bar.update(rich_progress.TaskID(0), completed=self._done, note=self._note)
        elif monotonic() >= self._next_line:
            self._next_line = monotonic() + _LINE_SECONDS
            self._print_line()

    def _open_bar(self, stream: Lenient) -> None:
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.TaskProgressColumn(),
            rich_progress.TextColumn("{task.completed}/{task.total} {task.fields[unit]}"),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("left"),
            rich_progress.TimeRemainingColumn(),
            rich_progress.TextColumn("{task.fields[note]}", markup=False),
            console=Console(file=cast(TextIO, stream)),
        )
        self._bar.add_task(self._description, total=self._total, unit=self._unit, note="")
        self._timer = Timer(_QUIET_SECONDS, self._bar.start)
        self._timer.daemon = True
        self._timer.start()

    def _print_line(self) -> None:
        elapsed = monotonic() - self._start
        if self._done > self._total:  # the total was not known
            parts = [f"{self._done} {self._unit}".rstrip()]
        else:
            parts = [f"{self._done}/{self._total} {self._unit}".rstrip() + f" ({self._done / max(self._total, 1):.0%})"]
        parts.append(f"{clock(elapsed)} elapsed")
        if 0 < self._done < self._total:
            parts.append(f"{clock(elapsed / self._done * (self._total - self._done))} left")
        if self._note:
            parts.append(self._note)
        tell(f"{self._description}: {', '.join(parts)}")


@contextmanager
def progress(description: str, total: int, unit: str = "") -> Iterator[Progress]:
    """Show the progress of a block of work on stderr: share done, time elapsed, time left.

    A terminal shows a bar, a log file gets a line about every 10 s, and work that ends within 5 s shows nothing. An
    error of stderr does not end the work; the text is lost.

    Args:
        description: name of the work, e.g. `training`.
        total: number of units of work; 0: not known.
        unit: name of the units, e.g. `epochs`.
    """
    shown = Progress(description, total, unit)
    try:
        yield shown
    finally:
        shown.close()


def clock(seconds: float) -> str:
    """A time in hours, minutes and seconds, e.g. `0:01:30`."""
    return str(timedelta(seconds=round(seconds)))
