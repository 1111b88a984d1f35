"""Keras and TensorFlow for all modules: `from calogen.backend import keras, tf`.

What the environment and a `keras.json`, even a damaged one, say to Keras changes nothing: neither is read (nor is what
`keras.utils.get_file` has in the user's home: this process keeps its own in a temporary folder). A process
that has imported Keras before keeps its settings, and they must be these (TensorFlow imports Keras, too).
"""

import os
import sys
from contextlib import suppress

from calogen.errors import ConfigError
from calogen.parallel import limit_tensorflow

_SETTINGS = {"backend": "tensorflow", "floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
_CHOSEN = {"KERAS_BACKEND": "tensorflow", "KERAS_NNX_ENABLED": "0"}

_imported = "keras" in sys.modules
_theirs = {name: os.environ.pop(name) for name in tuple(os.environ) if name.startswith("KERAS_") and not _imported}
if not _imported:
    os.environ.update(_CHOSEN, KERAS_HOME=os.path.join(os.devnull, "keras"))  # nothing is there, nor can it be made
try:
    import keras

    _received = {name: getattr(keras.config, name)() for name in _SETTINGS}
    if _received != _SETTINGS:
        raise ConfigError(
            f"Keras must have {_SETTINGS}. Received: {_received}, as it was imported before calogen: import "
            "calogen.backend first, or set KERAS_BACKEND=tensorflow and mend keras.json"
        )
    with suppress(ConfigError):  # a wrong CALOGEN_CORES, which every command refuses once it has begun
        limit_tensorflow()
    import tensorflow as tf  # it would import Keras with other settings, and it reads keras.json, too
except ConfigError:
    raise
except Exception as error:
    raise ConfigError(f"Keras must be importable. Received: {error} (is it installed as a whole?)") from error
finally:
    if not _imported:
        del os.environ["KERAS_HOME"]
        os.environ.update(_theirs | _CHOSEN)

__all__ = ["keras", "tf"]
