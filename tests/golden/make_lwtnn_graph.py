"""Makes lwtnn_graph.json: a small Keras decoder with fixed weights, its LWTNN graph, and outputs of the slow twin.

From the root of the repository: PYTHONPATH=tests python tests/golden/make_lwtnn_graph.py
"""

import json
from pathlib import Path

import keras
import numpy as np
from reference.lwtnn_forward import forward

from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import format_graph

INPUTS = {
    "latent": {"variable_0": 0.25, "variable_1": -1.5},
    "condition": {"variable_0": 0.75},
}


def build_model() -> keras.Model:
    """A decoder of 2 latent numbers and 1 condition, every weight a multiple of 1/8: nothing depends on a seed."""
    latent, condition = keras.Input((2,), name="latent"), keras.Input((1,), name="condition")
    x = keras.layers.Concatenate()([latent, condition])
    x = keras.layers.BatchNormalization(epsilon=0.25)(keras.layers.Dense(4, use_bias=False)(x))
    x = keras.layers.Activation("silu")(x)
    heads = [keras.layers.Dense(3, activation="softmax")(x), keras.layers.Dense(2, activation="sigmoid")(x)]
    model = keras.Model([latent, condition], keras.layers.Concatenate()(heads))
    for number, variable in enumerate(model.weights):
        values = (np.arange(np.prod(variable.shape)) * 5 + 3 * number) % 13 / 8.0
        is_variance = "variance" in variable.path
        variable.assign((values + 0.75 if is_variance else values - 0.75).reshape(variable.shape))
    return model


def main() -> None:
    """Write the golden file beside this script."""
    text = format_graph(convert(build_model()))
    golden = {
        "made_by": "PYTHONPATH=tests python tests/golden/make_lwtnn_graph.py",
        "graph": json.loads(text),
        "inputs": INPUTS,
        "outputs": forward(text, INPUTS),
    }
    Path(__file__).with_name("lwtnn_graph.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
