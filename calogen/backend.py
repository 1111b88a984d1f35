"""Keras and TensorFlow for all modules: `from calogen.backend import keras, tf`.

Another backend in the environment or in a `keras.json`, and that file's other entries, change nothing. A process that
has imported Keras before keeps its settings, and they must be these (TensorFlow imports Keras, too).
"""

import os
import sys

from calogen.errors import ConfigError
from calogen.parallel import limit_tensorflow

_SETTINGS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}

_imported = "keras" in sys.modules
if not _imported:
    os.environ.update(KERAS_BACKEND="tensorflow", KERAS_NNX_ENABLED="0")
try:
    import keras
except Exception as error:  # of any kind: its keras.json is not checked
    raise ConfigError(
        f"Keras must be importable. Received: {error} (is it installed, and is there a keras.json, in KERAS_HOME or "
        "~/.keras, that Keras does not read? Mend or remove it)"
    ) from error
if not _imported:
    for _name, _value in _SETTINGS.items():
        getattr(keras.config, f"set_{_name}")(_value)
_expected = {"backend": "tensorflow", **_SETTINGS}
_received = {name: getattr(keras.config, name)() for name in _expected}
if _received != _expected:
    raise ConfigError(
        f"Keras must have {_expected}. Received: {_received}, as it was imported before calogen: import "
        "calogen.backend first, or set KERAS_BACKEND=tensorflow and mend keras.json"
    )

limit_tensorflow()
import tensorflow as tf  # noqa: E402 - it would import Keras with other settings

__all__ = ["keras", "tf"]
