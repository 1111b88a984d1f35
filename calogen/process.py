"""Signals and streams of this process, and whether other processes run."""

import ctypes
import hashlib
import multiprocessing
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, BinaryIO, TextIO, cast

from calogen.errors import CalogenError, TemporaryError

_SIEVE = """import re, sys
for line in sys.stdin.buffer:
    if not re.match(sys.argv[1].encode(), line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""
_SIEVE_SECONDS = 5.0  # a program that was started meanwhile may hold the pipe for longer

UNFINISHED: set[Path] = set()
"""Temporary files that this process is writing."""


class Terminated(SystemExit):
    """A signal was received that ends all blocks in order, and then the process.

    After SIGTERM its exit code is 143. After SIGUSR1, by which batch systems warn of a job's time limit, it is that of
    `TemporaryError`, 75: the same command goes on.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(TemporaryError.exit_code if number == signal.SIGUSR1 else 128 + number)


class Lenient:
    """A text stream that drops a text which it cannot write, instead of raising an exception.

    The reader of its pipe or its terminal may be gone, and its disk may be full.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def write(self, text: str) -> int:
        """Write a text; an error is kept in `failure`."""
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:  # e.g. a plus-minus sign in a log that takes ASCII only
                self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.failure = error
        return len(text)

    def flush(self) -> None:
        """Flush the stream; an error is kept in `failure`."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self.failure = error

    def finish(self) -> None:
        """Flush for the last time and drop what cannot be written: Python would fail on it."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return not getattr(self._stream, "closed", False) and self._stream.isatty()

    def __getattr__(self, name: str) -> object:
        if name == "buffer":  # its errors would not be caught
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextmanager
def orderly() -> Iterator[None]:
    """Run the block as a command, which only SIGTERM, SIGUSR1 and an interrupt end early.

    The first two raise `Terminated`, once. SIGHUP is ignored, and stdout and stderr are `Lenient`: a long work goes on
    when its terminal or the reader of its pipe is gone, or the disk of its log is full.
    """
    _open_standard_files()
    before = {}
    if current_thread() is main_thread():  # no other thread may change signal handlers
        before = {number: signal.signal(number, _raise_terminated) for number in (signal.SIGTERM, signal.SIGUSR1)}
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


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let SIGTERM, SIGUSR1 and interrupts during the block take effect at its end.

    It is for what takes milliseconds and must not be left half done. In threads other than the main one, which receive
    no signals, the block simply runs.
    """
    received: list[int] = []
    before = {}
    if current_thread() is main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            before[number] = signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for arrived in received:
            signal.raise_signal(arrived)


class StopRequest:
    """A signal that has asked a block to save its work and to end.

    Args:
        before: handlers of the signals in front of the block, by number.
    """

    def __init__(self, before: Mapping[int, Any]) -> None:
        self._before = before
        self.number: int | None = None
        self.ended = False

    def arm(self) -> None:
        """Notes the signals from now on."""
        for number in self._before:
            signal.signal(number, self.note)

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Keeps the first signal; a second interrupt takes effect at once.

        Batch systems signal every process of a job, and so may the job's script: a second SIGTERM is none.
        """
        if self.number == number == signal.SIGINT:
            self.end()
        self.number = self.number or number

    def restore(self) -> None:
        """Sets the handlers as they were."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def end(self) -> None:
        """Lets the signal take effect, if there was one, and returns if its handler does."""
        number, self.number = self.number, None
        if number is None:
            return
        self.ended = True
        self.restore()
        signal.raise_signal(number)
        self.ended = False
        self.arm()


@contextmanager
def stoppable() -> Iterator[StopRequest]:
    """Let the block save its work before a signal ends it.

    SIGTERM, SIGUSR1 and an interrupt are noted in what is given, unless the process ignores them. The block looks at it
    every few seconds, saves, and calls `end`. Threads other than the main one receive no signals.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1) if current_thread() is main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    request = StopRequest({number: item for number, item in handlers.items() if item not in (signal.SIG_IGN, None)})
    request.arm()
    try:
        yield request
    finally:
        if not request.ended:
            request.restore()
            if request.number is not None:  # too late for the block, or another error has ended it
                signal.raise_signal(request.number)


def tell(text: str) -> None:
    """Print a line on stderr; an error in printing does not end the work."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


def tell_next(*steps: str) -> None:
    """Print on stderr what the user may type next, a line for each step."""
    for step in steps:
        tell(f"next: {step}")


def export_step(directory: Path, eta: object = None) -> str:
    """What to type next to export trained runs, of a slice `eta` or the geometry's own."""
    return shlex.join(["calogen", "export", *([] if eta is None else ["--eta", str(eta)]), str(directory)])


def show(text: str) -> None:
    """Print the result of a command on stdout, where it must arrive.

    Raises:
        CalogenError: it cannot be printed, e.g. on a full disk; a reader that stops early (`| head`) is no error.
    """
    print(text, flush=True)
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None and not isinstance(failure, BrokenPipeError):
        raise CalogenError(f"cannot write to the standard output: {failure}; free some space, or print elsewhere")


@contextmanager
def sifted_stderr(dropped: str) -> Iterator[None]:
    """Leave out the lines of stderr that match a regular expression.

    Also those of C++ libraries. The others are passed on by a process of their own: what a library says before it
    aborts must arrive. Where none can be started, or stderr is closed, all lines stay.
    """
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    command = [sys.executable, "-IS", "-c", _SIEVE, dropped]
    try:  # in a session of its own: an interrupt ends this process first
        sieve = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    except OSError:
        os.close(kept)
        yield
        return
    pipe = cast(BinaryIO, sieve.stdin)
    os.dup2(pipe.fileno(), 2)
    pipe.close()
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        with suppress(subprocess.TimeoutExpired):
            sieve.wait(_SIEVE_SECONDS)


def prepare_worker() -> None:
    """Make this process a worker, which ends with its parent and leaves no unfinished files.

    SIGTERM ends it at once, after the removal of its unfinished files; its parent handles interrupts.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # the kernel sends SIGTERM when the parent ends
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:  # the parent has ended before this call
            os._exit(128 + signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _remove_unfinished)


@cache
def machine() -> str:
    """Eight hexadecimal digits, equal for processes that see each other's numbers."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # containers may share the name of a host
    except OSError:
        namespace = ""
    try:  # machines may share a name, too, and the first namespace has the same number on all of them
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace} {boot}".encode()).hexdigest()[:8]


def start_of(number: int) -> str | None:
    """Start of a process of this machine, in ticks since the boot; None: unknown.

    Process numbers are used again; a number and a start together name one process.
    """
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def is_alive(number: int, start: str | None = None) -> bool:
    """Whether a process of this machine still runs.

    Args:
        number: the process number.
        start: the start of the process, from `start_of`; None: any process with this number counts.
    """
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # the process belongs to another user
    return start is None or start_of(number) in (None, start)


def _open_standard_files() -> None:
    """Open closed standard streams: the next file would get their number and their texts."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)


def _raise_terminated(number: int, _frame: FrameType | None) -> None:
    for ending in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(ending, signal.SIG_IGN)  # a second signal must not disturb the orderly end
    raise Terminated(number)


def _remove_unfinished(number: int, _frame: FrameType | None) -> None:
    """Remove the unfinished files and end by the signal: an exception needs the parent."""
    for path in tuple(UNFINISHED):
        with suppress(OSError):
            path.unlink()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
