"""What every way of `wgan_training.py` does: one iteration whenever a line comes in."""

import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace


def serve(make: Callable[[SimpleNamespace], Callable[[], object]]) -> None:
    """Answers every line on stdin with the CPU seconds of one iteration.

    Args:
        make: from the settings (the first argument, JSON) to a function that does one iteration.
    """
    iterate = make(SimpleNamespace(**json.loads(sys.argv[1])))
    iterate()  # compilation
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        iterate()
        print(time.process_time() - start, flush=True)
