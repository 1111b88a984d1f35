"""This process: its signals, its streams, which may vanish; whether others run."""

import ctypes
import hashlib
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, TextIO, cast

from calogen.errors import CalogenError

UNFINISHED: set[Path] = set()
"""Temporary files that this process is writing."""


class Terminated(SystemExit):
    """SIGTERM has come: blocks end in order, then the process does, with exit code 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Lenient:
    """A text stream that loses what it cannot write.

    Its pipe may be closed, its disk full, its terminal gone.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def write(self, text: str) -> int:
        """Write, or remember in `failure` why not."""
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:  # e.g. a plus-minus sign in a log that takes ASCII only
                self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.failure = error
        return len(text)

    def flush(self) -> None:
        """Flush, or remember in `failure` why not."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self.failure = error

    def finish(self) -> None:
        """Flush for the last time; what is stuck goes nowhere.

        Else Python would fail on it as it ends.
        """
        try:
            self._stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return not getattr(self._stream, "closed", False) and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # writing there would fail
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextmanager
def orderly() -> Iterator[None]:
    """Run the block as a command: only SIGTERM and an interrupt end it early, and in order.

    SIGTERM raises `Terminated`, once. SIGHUP is ignored, and stdout and stderr are `Lenient`: a long work goes on when
    its terminal, its log's disk or the reader of its pipe is gone.
    """
    _open_standard_files()
    before = {}
    if current_thread() is main_thread():  # no other may
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, _raise_terminated)
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    streams = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        lenient = [Lenient(stream or nowhere) for stream in streams]
        sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in lenient)
        try:
            yield
        finally:
            for stream in lenient:
                stream.finish()
            sys.stdout, sys.stderr = streams
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)


def tell(text: str) -> None:
    """Print a line on stderr, if that takes it: what is told must not end the work."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print on stdout what a command is there to print: it must arrive.

    Raises:
        CalogenError: a full disk, say; a reader that has seen enough (`| head`) is no fault.
    """
    print(text, flush=True)
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None and not isinstance(failure, BrokenPipeError):
        raise CalogenError(f"cannot write to the standard output: {failure}; free some space, or print elsewhere")


def prepare_worker() -> None:
    """Make this process a worker, which ends with its parent and leaves nothing.

    SIGTERM ends it at once, without its unfinished files; an interrupt is its parent's to handle.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # end with the parent, however it ends
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:  # it has ended before that
            os._exit(128 + signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    signal.signal(signal.SIGTERM, _remove_unfinished)


@cache
def machine() -> str:
    """Eight hexadecimal digits, the same where processes see one another's numbers."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # containers may share a host's name
    except OSError:
        namespace = ""
    try:  # so may machines, and every machine's first namespace is called the same
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace} {boot}".encode()).hexdigest()[:8]


def start_of(number: int) -> str | None:
    """When a process of this machine started, in ticks since the boot; None: unknown.

    Numbers of processes are used again: with its start, a number is one process's.
    """
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def is_alive(number: int, start: str | None = None) -> bool:
    """Whether a process of this machine still runs.

    Args:
        number: of the process.
        start: as `start_of` gave it; None: whatever has the number counts.
    """
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return start is None or start_of(number) in (None, start)


def _open_standard_files() -> None:
    """Open stdin, stdout and stderr where they are closed.

    The next file would get their number, and what libraries print there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)


def _raise_terminated(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb the end
    raise Terminated


def _remove_unfinished(number: int, _frame: FrameType | None) -> None:
    """End by the signal: an exception would be sent to the parent, which may be gone."""
    for path in tuple(UNFINISHED):
        with suppress(OSError):
            path.unlink()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
