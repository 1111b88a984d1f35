"""Keras and TensorFlow for all modules: `from calogen.backend import keras, tf`.

Keras gets fixed settings: neither its environment variables nor a `keras.json`, which might be damaged, are read, and
files of `keras.utils.get_file` go to a temporary folder, not to the user's home. If Keras, which TensorFlow imports as
well, was imported before this module, it keeps its settings; they must be the fixed ones, or the import fails.
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
    os.environ.update(_CHOSEN, KERAS_HOME=os.path.join(os.devnull, "keras"))  # a folder that cannot exist
try:
    import keras

    _received = {name: getattr(keras.config, name)() for name in _SETTINGS}
    if _received != _SETTINGS:
        raise ConfigError(
            f"Keras must have {_SETTINGS}. Received: {_received}, as it was imported before calogen: import "
            "calogen.backend first, or set KERAS_BACKEND=tensorflow and mend keras.json"
        )
    with suppress(ConfigError):  # a wrong CALOGEN_CORES: every command refuses it later, with a message
        limit_tensorflow()
    import tensorflow as tf  # after Keras, which it would import with other settings, and it reads keras.json, too
except ConfigError:
    raise
except Exception as error:
    raise ConfigError(f"Keras must be importable. Received: {error} (is it installed as a whole?)") from error
finally:
    if not _imported:
        del os.environ["KERAS_HOME"]
        os.environ.update(_theirs | _CHOSEN)

__all__ = ["keras", "tf"]
