"""Generative fast calorimeter simulation: the published networks, reproduced in Keras 3."""

__version__ = "0.1.0"
