"""Networks as LWTNN graphs: the JSON schema, the conversion from Keras 3, and an interpreter without TensorFlow."""
