"""Exceptions at calogen's boundary: each says what was expected, received, and a remedy."""

from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


class CalogenError(Exception):
    """A fault that the user can mend; commands print it in one line and exit with code 2."""

    exit_code = 2


class TemporaryError(CalogenError):
    """A fault that another try may not meet; exit code 75.

    A lock that another process holds, the network, a damaged download, a worker that died.

    Source: EX_TEMPFAIL of sysexits.h.
    """

    exit_code = 75


class GeometryError(CalogenError):
    """A geometry that is inconsistent or does not fit the data."""


class DataFormatError(CalogenError):
    """A file or an array that is not what it should be."""


class ConfigError(CalogenError):
    """A configuration that makes no sense, or does not fit what it is used with."""


class ExportError(CalogenError):
    """A network that cannot be written in the requested format."""


def checked(function: _Function) -> _Function:
    """A function that refuses arguments of other types than its own with a `ConfigError`."""
    from beartype import BeartypeConf, beartype

    return beartype(conf=BeartypeConf(violation_param_type=ConfigError))(function)
