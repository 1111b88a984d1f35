"""The process of a way of `getting_high.py`: it times the calls that it is asked for."""

import json
import sys
import time
from collections.abc import Callable, Mapping

from cases import Case

Calls = Mapping[str, Callable[[], object]]


def serve(make: Callable[[Case], Calls]) -> None:
    """Answers every line on stdin, the name of a call, with its CPU seconds.

    Args:
        make: function from the case, whose settings are the first argument, JSON, to the calls by name.
    """
    calls = make(Case.of(json.loads(sys.argv[1])))
    for call in calls.values():
        call()  # the first one compiles
    print("ready", *calls, flush=True)
    for line in sys.stdin:
        start = time.process_time()
        calls[line.strip()]()
        print(time.process_time() - start, flush=True)
