"""First weights of a training, taken from a trained run."""

import hashlib
from collections.abc import Mapping
from typing import Any

from calogen.backend import keras
from calogen.config import config_to_json, require
from calogen.training.residuals import has_residuals
from calogen.training.run import TrainedRun
from calogen.training.state import assign, shapes_of, values_of


def start_from(networks: Mapping[str, keras.Model], trained: Mapping[str, keras.Model]) -> None:
    """Gives networks the weights of trained ones with their names; the others keep their own.

    All weights are taken, or those that train, where only they have the same shapes (a critic may get or lose spectral
    normalisation) or where the others are fitted in the end (`Residuals`).

    Raises:
        ConfigError: no name is the same, or the weights have other shapes.
    """
    shared = [name for name in networks if name in trained]
    require(bool(shared), f"a start needs one of the networks {', '.join(networks)}. Received: {', '.join(trained)}")
    for name in shared:
        old, new = trained[name], networks[name]
        if shapes_of(old.variables) == shapes_of(new.variables) and not has_residuals(new):
            assign(new.variables, values_of(old.variables))
            continue
        expected, received = (", ".join(map(str, shapes_of(item.trainable_variables))) for item in (new, old))
        require(
            expected == received,
            f"the {name} to start from must have weights of the shapes {expected}. Received: {received}",
        )
        assign(new.trainable_variables, values_of(old.trainable_variables))


def description_of(run: TrainedRun) -> dict[str, Any]:
    """What a user must know of a run from whose weights another one starts, as JSON values."""
    return {
        "model": run.model,
        "networks": sorted(run.networks),
        "config": config_to_json(run.config),
        "weights": weights_digest(run.networks),
    }


def weights_digest(networks: Mapping[str, keras.Model]) -> str:
    """Hash of the weights of all networks."""
    sha256 = hashlib.sha256()
    for name in sorted(networks):
        for variable in networks[name].variables:
            sha256.update(variable.numpy().tobytes())
    return sha256.hexdigest()[:16]
