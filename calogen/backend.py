"""Keras and TensorFlow for all modules: `from calogen.backend import keras, tf`.

Keras gets fixed settings: neither its environment variables nor a `keras.json`, which might be damaged, are read, and
files of `keras.utils.get_file` go to a temporary folder, not to the user's home. If Keras, which TensorFlow imports as
well, was imported before this module, it keeps its settings; they must be the fixed ones, or the import fails.

What TensorFlow prints when it starts is left out, but for errors: without a GPU it complains about CUDA. With
`--verbose` on the command line, or with the environment variable `TF_CPP_MIN_LOG_LEVEL`, it prints what it likes.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from calogen.errors import ConfigError
from calogen.parallel import limit_tensorflow
from calogen.process import sifted_stderr

_SETTINGS = {"backend": "tensorflow", "floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
_CHOSEN = {"KERAS_BACKEND": "tensorflow", "KERAS_NNX_ENABLED": "0"}

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # 0: everything, 1: warnings and errors, 2: errors
_GREETINGS = r"WARNING: All log messages before absl::Init|To enable the following instructions|I\d{4} "
_WITHOUT_GPU = rf"{_GREETINGS}|W\d{{4}} |E\d{{4}} .*\bcu(da|Init|DNN|FFT|BLAS)"
_HAS_GPU = any(os.path.exists(path) for path in ("/dev/nvidiactl", "/dev/dxg"))  # Linux; Linux in Windows


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Leave out TensorFlow's greetings, unless the user asks for them."""
    words = " ".join(sys.argv).replace("=", " ").split()  # also in --options="--ablation --verbose"
    if _LEVEL in os.environ or "--verbose" in words:
        yield
        return
    os.environ[_LEVEL] = "1" if _HAS_GPU else "2"  # TensorFlow reads it once
    try:
        with sifted_stderr(_GREETINGS if _HAS_GPU else _WITHOUT_GPU):
            yield
    finally:
        del os.environ[_LEVEL]  # processes that this one starts are quiet by themselves


_imported = "keras" in sys.modules
_theirs = {name: os.environ.pop(name) for name in tuple(os.environ) if name.startswith("KERAS_") and not _imported}
if not _imported:
    os.environ.update(_CHOSEN, KERAS_HOME=os.path.join(os.devnull, "keras"))  # a folder that cannot exist
try:
    with _quiet_start():
        import keras

        _received = {name: getattr(keras.config, name)() for name in _SETTINGS}
        if _received != _SETTINGS:
            raise ConfigError(
                f"Keras must have {_SETTINGS}. Received: {_received}, as it was imported before calogen: import "
                "calogen.backend first, or set KERAS_BACKEND=tensorflow and mend keras.json"
            )
        with suppress(ConfigError):  # a wrong CALOGEN_CORES: every command refuses it later, with a message
            limit_tensorflow()
        import tensorflow as tf  # after Keras, which would import it with other settings, and it reads keras.json, too

        # it warns of programs that are compiled again: other showers or another network are no fault
        tf.get_logger().addFilter(lambda record: "tf.function retracing" not in record.getMessage())
        if not _HAS_GPU:
            tf.config.list_physical_devices()  # looks for CUDA now, not while a training shows its progress
except ConfigError:
    raise
except Exception as error:
    raise ConfigError(f"Keras must be importable. Received: {error} (is it installed as a whole?)") from error
finally:
    if not _imported:
        del os.environ["KERAS_HOME"]
        os.environ.update(_theirs | _CHOSEN)

__all__ = ["keras", "tf"]
