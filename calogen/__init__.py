"""Generative fast calorimeter simulation: the published networks, reproduced in Keras 3."""

import os

__version__ = "0.1.0"

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow starts: errors, no remarks between progress bars
