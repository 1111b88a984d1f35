"""First weights of a training, taken from a trained run."""

import hashlib
from collections.abc import Mapping

from calogen.backend import keras
from calogen.config import require


def start_from(networks: Mapping[str, keras.Model], trained: Mapping[str, keras.Model]) -> None:
    """Gives networks the weights of trained ones with their names; the others keep their own.

    All weights are taken, or those that train, where only they have the same shapes: a critic may get or lose spectral
    normalisation.

    Raises:
        ConfigError: no name is the same, or the weights have other shapes.
    """
    shared = [name for name in networks if name in trained]
    require(bool(shared), f"a start needs one of the networks {', '.join(networks)}. Received: {', '.join(trained)}")
    for name in shared:
        old, new = trained[name], networks[name]
        for pair in ((old.variables, new.variables), (old.trainable_variables, new.trainable_variables)):
            values, variables = pair
            if [tuple(item.shape) for item in values] == [tuple(item.shape) for item in variables]:
                break
        else:
            texts = [
                ", ".join(str(tuple(item.shape)) for item in network.trainable_variables) for network in (new, old)
            ]
            require(False, f"the {name} to start from must have weights of the shapes {texts[0]}. Received: {texts[1]}")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value.numpy())


def weights_digest(networks: Mapping[str, keras.Model]) -> str:
    """Hash of the weights of all networks."""
    sha256 = hashlib.sha256()
    for name in sorted(networks):
        for variable in networks[name].variables:
            sha256.update(variable.numpy().tobytes())
    return sha256.hexdigest()[:16]
