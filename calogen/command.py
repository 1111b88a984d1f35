"""A program on the command line: how its options are read, and how it ends."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from typing import Annotated, ParamSpec, TypeVar

import typer

from calogen.errors import CalogenError, TemporaryError
from calogen.files import TEMPORARY
from calogen.parallel import limit_libraries
from calogen.process import Terminated, orderly, tell

EXIT_CODES = """exit codes: 0 done; 1 a fault of the program's own; 2 a fault to mend, which the last line names; 75 a
fault that another try may not meet (a lock that another process holds, the network, a disk's error, a worker that
died), or SIGUSR1, a batch system's warning of a time limit; 130 interrupted; 143 terminated. After 75, 130 and 143 the
same command goes on where it stopped; trainings save what they have first."""

ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="WHERE",
        help="Workers: local:N, tcp://host:port of a dask scheduler, or a YAML file of a batch system; by default this "
        "machine. The result is the same.",
    ),
]

StrategyOption = Annotated[
    str,
    typer.Option(metavar="NAME", help="one device, or mirrored: all GPUs of the machine share each batch equally."),
]

_Values = TypeVar("_Values")
_Options = ParamSpec("_Options")


def parse_command_line(
    read: Callable[_Options, _Values],
    description: str | None,
    epilog: str,
    arguments: Sequence[str] | None = None,
    more: Sequence[Parameter] = (),
) -> _Values:
    """Reads a command line by typer; wrong options and `--help` end the process.

    Args:
        read: function or dataclass whose parameters, annotated as typer asks for, are the program's options.
        description, epilog: shown by `--help` above and below the options, line by line.
        arguments: the command line; None: that of this process.
        more: options besides those of `read`, which takes them as `**keywords`, or in place of one of them.

    Returns:
        What `read` returns.

    Raises:
        SystemExit: with code 2 after wrong options, which stderr names; with 0 after `--help`.
    """
    values: list[_Values] = []

    def keep(*words: _Options.args, **options: _Options.kwargs) -> None:
        values.append(read(*words, **options))

    parameters = {item.name: item for item in signature(read).parameters.values()}
    parameters |= {item.name: item for item in more}
    every = [item for item in parameters.values() if item.kind is not Parameter.VAR_KEYWORD]
    keep.__dict__["__signature__"] = Signature(every)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    names = {"help_option_names": ["-h", "--help"]}
    app.command(help=_unwrapped(description or ""), epilog=_unwrapped(epilog), context_settings=names)(keep)
    try:
        app(arguments)
    except SystemExit:  # typer ends the process after success, too
        if not values:
            raise
    return values[0]


@contextmanager
def clean_exit(program: str) -> Iterator[None]:
    """Run the block as a command: `orderly`, its faults a line and an exit code.

    The line goes to stderr; the code is one of `EXIT_CODES`. A fault to mend is a `CalogenError`, too little memory, or
    a file that the operating system refuses. TensorFlow gets the cores of this job, linear algebra one.
    """
    with orderly():
        try:
            limit_libraries()
            yield
        except CalogenError as error:
            tell(f"{program}: error: {' '.join(str(error).split())}")
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            tell(f"{program}: interrupted")
            sys.exit(130)
        except Terminated as error:
            warned = error.code == TemporaryError.exit_code
            tell(f"{program}: {'stopped before its time limit, the same command goes on' if warned else 'terminated'}")
            raise
        except Exception as error:
            if (fault := _fault_to_mend(error)) is None:
                raise
            tell(f"{program}: error: {fault}")
            again = isinstance(error, OSError) and error.errno in TEMPORARY
            sys.exit(TemporaryError.exit_code if again else CalogenError.exit_code)


def _unwrapped(text: str) -> str:
    """A text in paragraphs that begin with a backspace: of such, typer keeps the lines."""
    return "\n\n".join(f"\b\n{paragraph}" for paragraph in text.strip().split("\n\n"))


def _fault_to_mend(error: Exception) -> str | None:
    """What the user can mend, in one line; None for a fault of the program."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
        reason = (str(error).splitlines() or [""])[0]
        return f"out of memory: ask for less at once, or for more memory ({reason or type(error).__name__:.200})"
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {error.filename!s:.400}: {error.strerror}"
    return None
