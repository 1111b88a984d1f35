"""JSON as boost's property_tree reads it: strict, but numbers may be quoted.

Every function refuses, with an `ExportError`, what lwtnn's own parser refuses. Ambiguous texts are refused as well: a
key that stands twice in one object, and a text or an object in the place of a list.

Source: src/parse_json.cxx of lwtnn 2.14.1; boost/property_tree/json_parser.hpp and stream_translator.hpp.
"""

import json
import math
import re
import reprlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

import numpy as np

from calogen.errors import ExportError

_INTEGER = re.compile(r"\s*[+-]?\d{1,18}\s*", re.ASCII)
_LARGEST = 2**31  # integers must be below it: C++'s int
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
_LONGEST = 60  # characters of a value in a message
_Item = TypeVar("_Item")


def shown(value: object) -> str:
    """A value as it stands in a message, shortened."""
    text = reprlib.repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def parse(text: str) -> object:
    """The value that a JSON text holds.

    Raises:
        ExportError: the text is not JSON or nested too deeply, or it has NaN, infinity or a key twice in one object.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of thousands of digits
        raise ExportError(f"no JSON that lwtnn reads: {error}") from error


def field(document: object, key: str) -> object:
    """The value of a key, which the document must have."""
    if not isinstance(document, dict):
        raise ExportError(f"expected an object with the key {key!r}. Received: {shown(document)}")
    if key not in document:
        raise ExportError(f"the key {key!r} is missing")
    return document[key]


def items(document: object, key: str) -> list[object]:
    """The list that a key holds."""
    value = field(document, key)
    if not isinstance(value, list):
        raise ExportError(f"{key} must be a list. Received: {shown(value)}")
    return value


def each(document: object, key: str, read: Callable[[object], _Item]) -> tuple[_Item, ...]:
    """The items of a key's list, converted by `read`; an error names its item."""
    converted = []
    for position, item in enumerate(items(document, key)):
        try:
            converted.append(read(item))
        except ExportError as error:
            raise ExportError(f"{key}[{position}]: {error}") from None
    return tuple(converted)


def name(value: object) -> str:
    """A name: a text, or an integer, which becomes a text."""
    if type(value) not in (str, int):
        raise ExportError(f"names must be text. Received: {shown(value)}")
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise ExportError(f"names must be text in Unicode. Received: {shown(value)}") from None
    return str(value)


def integer(value: object) -> int:
    """An integer; the number 1.0 is refused.

    >>> integer(" 3 ")
    3
    """
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if type(value) is not int or abs(value) >= _LARGEST:
        raise ExportError(f"indices and sizes must be integers. Received: {shown(value)}")
    return value


def number(value: object) -> float:
    """A finite number.

    >>> number("1.5e3")
    1500.0
    """
    is_number = _NUMBER.fullmatch(value) if isinstance(value, str) else type(value) in (int, float)
    if not is_number or not isinstance(value, int | float | str):
        raise ExportError(f"expected a number. Received: {shown(value)}")
    try:
        converted = float(value)
    except OverflowError:  # of a long integer
        converted = math.inf
    if not math.isfinite(converted):
        raise ExportError(f"numbers must be finite. Received: {shown(value)}")
    return converted


def numbers(document: object, key: str) -> np.ndarray:
    """The flat list of numbers that a key holds, as an array."""
    values = items(document, key)
    if set(map(type, values)) <= {int, float}:  # a million weights, fast
        with suppress(OverflowError):
            return np.array(values, dtype=np.float64)
    if any(isinstance(value, list) for value in values):
        raise ExportError(f"{key} must be a flat list of numbers. Received: lists inside it")
    return np.array([number(value) for value in values], dtype=np.float64)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ExportError(f"a key may stand once in an object. Received: {shown(twice)} twice")
    return document


def _refuse_constant(token: str) -> NoReturn:
    raise ExportError(f"numbers must be finite. Received: {token}")
