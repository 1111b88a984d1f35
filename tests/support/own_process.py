"""Geant4 in an interpreter of its own: one run per process is Geant4's rule."""

import json
import subprocess
import sys
from typing import Any


def in_own_process(body: str) -> Any:
    """What `body` leaves in `result`, run in a fresh interpreter."""
    start = "import json, dataclasses, numpy as np\nfrom calogen.simulation.detectors import *\n"
    start += "from calogen.simulation.geant4 import Geant4Run\nresult = None\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{start}{body}\nprint(json.dumps(result))"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
