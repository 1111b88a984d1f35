"""Exceptions; each message says what was expected and received, and the remedy."""

from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


class CalogenError(Exception):
    """An error that the user can mend; commands print it in one line and exit with code 2."""

    exit_code = 2


class TemporaryError(CalogenError):
    """An error that another try may not meet; commands exit with code 75.

    Examples are a lock that another process holds, a broken connection, a damaged download, a worker that died.

    Source: EX_TEMPFAIL of sysexits.h.
    """

    exit_code = 75


class GeometryError(CalogenError):
    """A geometry that is inconsistent or does not fit the data."""


class DataFormatError(CalogenError):
    """A file or an array of another format, shape or content than expected."""


class ConfigError(CalogenError):
    """A configuration that is inconsistent, or does not fit the data or the software."""


class DivergedError(CalogenError):
    """A training whose losses, weights or showers are no longer finite."""


class ExportError(CalogenError):
    """A network that cannot be written in the requested format."""


def checked(function: _Function) -> _Function:
    """A function that refuses arguments of other types than its own with a `ConfigError`."""
    from beartype import BeartypeConf, beartype

    return beartype(conf=BeartypeConf(violation_param_type=ConfigError, is_pep484_tower=True))(function)
