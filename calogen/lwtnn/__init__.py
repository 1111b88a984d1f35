"""LWTNN graphs: JSON schema, conversion from Keras 3, interpreter without TensorFlow."""
