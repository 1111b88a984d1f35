"""The process of a way of `wgan_training.py`: it does an iteration for every input line."""

import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace


def serve(make: Callable[[SimpleNamespace], Callable[[], object]]) -> None:
    """Answers every line on stdin with the CPU seconds of one iteration.

    Args:
        make: function from the settings (the first argument, JSON) to a function that does one iteration.
    """
    iterate = make(SimpleNamespace(**json.loads(sys.argv[1])))
    iterate()  # the first iteration compiles
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        iterate()
        print(time.process_time() - start, flush=True)
