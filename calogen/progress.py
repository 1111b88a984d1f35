"""Progress of long work: a bar on a terminal, or a line now and then in a log file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Lock, Thread, Timer
from time import monotonic
from typing import TextIO, cast

from rich import progress as rich_progress
from rich.console import Console

from calogen.process import Lenient, tell

_QUIET_SECONDS = 5.0  # work that ends earlier shows no progress
_LINE_SECONDS = 30.0  # between two lines of a log file


class Progress:
    """Progress of one piece of work, as `progress` gives it."""

    def __init__(self, description: str, total: int, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._done, self._skipped, self._note = 0, 0, ""
        self._start = monotonic()
        self._counting: float | None = self._start  # since when units are worked on; None: other work goes on
        self._counted = 0.0  # seconds before that
        self._next_line = self._start + _LINE_SECONDS
        self._bar: rich_progress.Progress | None = None
        self._timer: Timer | None = None
        self._ended, self._printing = Event(), Lock()
        if sys.stderr is not None and (stream := Lenient(sys.stderr)).isatty():
            self._open_bar(stream)
        else:
            self._lines = Thread(target=self._print_lines, daemon=True)
            self._lines.start()

    def advance(self, n: int = 1) -> None:
        """Count `n` more units of work as done."""
        self._done += n
        self._update()

    def skip(self, n: int) -> None:
        """Count `n` units that took no time: they do not tell the time that is left."""
        self._skipped += n
        self.advance(n)

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
            return
        self._ended.set()
        self._lines.join()
        if monotonic() - self._start >= _QUIET_SECONDS:
            self._print_line()

    def _update(self) -> None:
        if self._bar is not None:
            left = self._left() or "-:--:--"
            self._bar.update(rich_progress.TaskID(0), completed=self._done, note=self._note, left=left)
        else:
            self._print_due_line()

    def _print_lines(self) -> None:
        """Print lines while a unit of work takes longer than the time between two of them."""
        while not self._ended.wait(max(0.1, self._next_line - monotonic())):
            self._print_due_line()

    def _print_due_line(self) -> None:
        with self._printing:
            if monotonic() >= self._next_line:
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
            rich_progress.TextColumn("{task.fields[left]}"),
            rich_progress.TextColumn("{task.fields[note]}", markup=False),
            console=Console(file=cast(TextIO, stream)),
        )
        self._bar.add_task(self._description, total=self._total, unit=self._unit, note="", left="-:--:--")
        self._timer = Timer(_QUIET_SECONDS, self._bar.start)
        self._timer.daemon = True
        self._timer.start()

    def _left(self) -> str:
        """The time that is left, by the mean speed so far; empty if that is not known."""
        done = self._done - self._skipped
        if done <= 0 or self._done >= self._total:
            return ""
        seconds = self._counted + (0.0 if self._counting is None else monotonic() - self._counting)
        return clock(seconds / done * (self._total - self._done))

    def _print_line(self) -> None:
        elapsed = monotonic() - self._start
        if self._done > self._total:  # the total was not known
            parts = [f"{self._done} {self._unit}".rstrip()]
        else:
            parts = [f"{self._done}/{self._total} {self._unit}".rstrip() + f" ({self._done / max(self._total, 1):.0%})"]
        parts.append(f"{clock(elapsed)} elapsed")
        if left := self._left():
            parts.append(f"{left} left")
        if self._note:
            parts.append(self._note)
        tell(f"{self._description}: {', '.join(parts)}")


class Silent(Progress):
    """Progress that nobody sees, of work on another machine."""

    def __init__(self) -> None:
        """Opens nothing."""

    def advance(self, n: int = 1) -> None:
        """Count nothing."""

    def skip(self, n: int) -> None:
        """Count nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class _Part(Progress):
    """Progress of a part of the work of `whole`, whose bar shows it.

    If the units are the same, they count; otherwise the part is named beside the bar.
    """

    def __init__(self, shown: Progress, description: str, total: int, unit: str) -> None:
        self._shown, self._description, self._total, self._done = shown, description, total, 0
        self._counts = unit == shown._unit
        if self._counts:
            shown._counting = monotonic()
        shown.note(description)

    def advance(self, n: int = 1) -> None:
        """Count `n` more units of work as done."""
        self._done += n
        if self._counts:
            self._shown.advance(n)
        else:
            self._shown.note(f"{self._description} {self._done}/{self._total}")

    def skip(self, n: int) -> None:
        """Count `n` units that were done before."""
        self._shown.skip(n) if self._counts else self.advance(n)

    def note(self, text: str) -> None:
        """Show a short text beside the numbers."""
        self._shown.note(f"{self._description}: {text}")

    def close(self) -> None:
        """Stop the clock by which the time that is left is estimated."""
        if self._counts and self._shown._counting is not None:
            self._shown._counted += monotonic() - self._shown._counting
            self._shown._counting = None
        self._shown.note("")


_whole: Progress | None = None


@contextmanager
def whole(description: str, total: int, unit: str) -> Iterator[None]:
    """Show one progress for all work of a block, whatever parts of it call `progress`.

    Args:
        description: name of the whole work.
        total: number of units of all parts that have this unit; 0: each part shows a progress of its own.
        unit: name of the units; parts with other units are named beside the bar.
    """
    global _whole  # noqa: PLW0603 (parts are deep in the work, and do not know it)
    if not total:
        yield
        return
    shown = _whole = Progress(description, total, unit)
    shown._counting = None
    try:
        yield
    finally:
        _whole = None
        shown.close()


@contextmanager
def progress(description: str, total: int, unit: str = "") -> Iterator[Progress]:
    """Show the progress of a block of work on stderr: share done, time elapsed, time left.

    A terminal shows a bar, a log file gets a line about every 30 s, and work that ends within 5 s shows nothing. An
    error of stderr does not end the work; the text is lost.

    Args:
        description: name of the work, e.g. `training`.
        total: number of units of work; 0: not known.
        unit: name of the units, e.g. `epochs`.
    """
    shown = Progress(description, total, unit) if _whole is None else _Part(_whole, description, total, unit)
    try:
        yield shown
    finally:
        shown.close()


def duration(seconds: float) -> str:
    """A time in words, with one or two digits, for estimates.

    >>> [duration(item) for item in (4, 50, 100, 5400, 20000)]
    ['5 seconds', '50 seconds', '2 minutes', '1.5 hours', '6 hours']
    """
    for size, unit in ((3600, "hour"), (60, "minute")):
        if seconds >= 1.4 * size:
            number = seconds / size
            return f"{number:.1f} {unit}s" if unit == "hour" and number < 3 else f"{number:.0f} {unit}s"
    return f"{max(5, 5 * round(seconds / 5))} seconds"


def clock(seconds: float) -> str:
    """A time in hours, minutes and seconds, e.g. `0:01:30`."""
    return str(timedelta(seconds=round(seconds)))
