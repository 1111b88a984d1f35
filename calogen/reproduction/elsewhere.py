"""Trainings of an experiment or a scan on workers: each is a command of its own."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path

from calogen.cluster import worker_pool
from calogen.errors import CalogenError, TemporaryError
from calogen.process import tell
from calogen.progress import progress
from calogen.reproduction.experiment import Arguments, expand_options, run_directory

_TRIES = 3
_AGAIN = (TemporaryError.exit_code, 128 + signal.SIGINT, 128 + signal.SIGTERM)


def train_elsewhere(
    name: str, arguments: Arguments, networks: Iterable[tuple[int, str]], optional: Collection[str] = ()
) -> None:
    """Trains networks on the workers of `--cluster`; a trained one ends at once.

    Args:
        name: name of the runs' folder.
        arguments: command line of the experiment, whose words this process has in `sys.argv`.
        networks: seed and name of each network; an empty name stands for everything of the seed.
        optional: networks that may fail, as this process finds when it comes to them.

    Raises:
        CalogenError: a training failed; its last line is named.
    """
    words = own_words("--only", "--seed", "--seeds", "--results", "--figures")
    commands = {}
    for seed, network in networks:
        log = run_directory(name, arguments.preset, seed, arguments.runs.absolute()) / f"{network or 'experiment'}.log"
        commands[log] = [*words, "--seed", str(seed), *(["--only", network] if network else [])]
    for log, error in run_elsewhere(arguments.cluster, commands, "networks").items():
        if log.stem not in optional:
            raise error


def run_elsewhere(where: str | None, commands: Mapping[Path, Sequence[str]], unit: str) -> dict[Path, CalogenError]:
    """Runs commands on workers; what another try may mend is tried three times.

    Args:
        where: as for `cluster.worker_pool`.
        commands: each with the file of its texts.
        unit: what they are, in the plural.

    Returns:
        what went wrong with commands, by their files.
    """
    folder, failed = Path.cwd(), dict[Path, CalogenError]()
    with progress("working elsewhere", len(commands), unit) as bar, worker_pool(where) as pool:
        left = list(commands)
        for _ in range(_TRIES):
            tasks = {pool.submit(run_command, commands[log], folder, log): log for log in left}
            for task in as_completed(tasks):
                log = tasks[task]
                try:
                    task.result()
                except CalogenError as error:
                    failed[log] = error
                    tell(f"{log.stem} of {log.parent.name} failed: {error}")
                else:
                    failed.pop(log, None)
                    tell(f"{log.stem} of {log.parent.name} is done: {log}")
                    bar.advance()
            left = [log for log, error in failed.items() if isinstance(error, TemporaryError)]
    return failed


def own_words(*left_out: str) -> list[str]:
    """The command of this process without `--cluster` and other options, which have values."""
    kept, words = [sys.executable, str(Path(sys.argv[0]).absolute())], iter(expand_options(sys.argv[1:]))
    for word in words:
        if word in ("--cluster", *left_out):
            next(words, None)
        elif word.partition("=")[0] not in ("--cluster", *left_out):
            kept.append(word)
    return kept


def run_command(words: Sequence[str], folder: Path, log: Path) -> None:
    """Runs a command whose texts go to a file, and which ends with this process.

    Raises:
        TemporaryError: it ended with a code after which the same command goes on.
        CalogenError: it failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            words, cwd=folder, stdout=file, stderr=subprocess.STDOUT, check=False, preexec_fn=_end_with_parent
        )
    if done.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        kind = TemporaryError if done.returncode < 0 or done.returncode in _AGAIN else CalogenError
        raise kind(f"{log.stem} ended with code {done.returncode}: {said[-1] if said else 'nothing was said'} ({log})")


def _end_with_parent() -> None:
    """Ask Linux to end this process with its worker, which a lock would outlive."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # a training saves first
