"""Damage to documents and bytes, for fuzzing readers: a function of the random generator alone."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

POOL: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 7, 10**400, 0.5, -2.5, 1e300, float("nan"), -float("inf")),
    *("", "0", " 1 ", "-1", "2.5", "1e400", "nan", "0x1", "x", [], {}, [[]], [0], ["0"], {"a": 0}),
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def damage_document(document: Any, random: Random) -> None:
    """Put one fault into a JSON document, in place; `@30` stands for 30 nested lists (see `damaged_json`)."""
    container, key = random.choice(list(places(document)))
    value = container[key]
    kind = random.choice(("drop", "twice", "other", "retype", "change", "change", "swap", "nest"))
    if kind == "drop":
        del container[key]
    elif kind == "twice":
        if isinstance(container, list):
            container.insert(random.randrange(len(container) + 1), value)
        else:
            container[f"{key}_"] = value
    elif kind == "other":
        container[key] = random.choice(POOL)
    elif kind == "retype":
        container[key] = str(value) if isinstance(value, int | float) else [value] if random.random() < 0.5 else None
    elif kind == "change" and isinstance(value, int | float):
        container[key] = random.choice((value + 1, value - 1, -value, value * 0.5, value * 1e200))
    elif kind == "swap" and isinstance(container, list):
        other = random.randrange(len(container))
        container[key], container[other] = container[other], value
    elif kind == "nest":
        container[key] = f"@{random.choice((1, 30, 500, 100_000))}"


def damage_bytes(data: bytes, random: Random) -> bytes:
    """The bytes with one fault."""
    start, length = random.randrange(len(data)), random.choice((1, 1, 5, 50))
    before, part, after = data[:start], data[start : start + length], data[start + length :]
    changed = (
        before,
        before + after,
        before + part + part + after,
        before + bytes([part[0] ^ (1 << random.randrange(8))]) + part[1:] + after,
        before + random.randbytes(1) + part + after,
        before + random.choice((b'"bias":[0],', b'"name":"z",', b"NaN", b"0", b'"', b"\xff")) + part + after,
    )
    return random.choice(changed)


def damaged_json(document: Any, random: Random) -> bytes:
    """A JSON document with one to three faults."""
    document = json.loads(json.dumps(document))
    for _ in range(random.choice((1, 1, 2, 3))):
        damage_document(document, random)
        if not document:
            break
    text = json.dumps(document)
    for depth in (1, 30, 500, 100_000):
        text = text.replace(f'"@{depth}"', "[" * depth + "]" * depth)
    data = text.encode()
    return damage_bytes(data, random) if random.random() < 0.3 else data
