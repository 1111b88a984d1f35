"""Check that the files of a trained run fit one another."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from calogen.backend import keras
from calogen.errors import CalogenError, DataFormatError
from calogen.features.conditions import Encoding, Standardised
from calogen.features.transforms import Chain
from calogen.showers.conditions import Conditions
from calogen.training.module import ConfigT, GeometryT, ModelModule, generates


def require_consistent(
    directory: Path,
    module: ModelModule[ConfigT, GeometryT],
    config: ConfigT,
    geometry: GeometryT,
    networks: Mapping[str, keras.Model],
    transform: Chain,
) -> None:
    """Refuse, with a `DataFormatError`, files of a run that do not belong together.

    Args:
        directory: folder of the run, named in the message.
        config, geometry, networks, transform: what was read from the files of the directory.
    """
    try:
        _require_transform(module.build_transform(config, geometry), transform)
        sizes = {
            "latent": module.build_latent(config).dim,
            "condition": transform.condition_dim,
            "shower": transform.num_features(geometry),
        }
        _require_networks(
            networks, sizes, generates(module, config), lambda name: module.build(config, geometry).get(name)
        )
    except (CalogenError, AttributeError) as error:
        raise DataFormatError(
            f"{directory} must hold the files of one run: {error!s:.500} (were they copied from different runs?)"
        ) from error


def _require_transform(untrained: Chain, transform: Chain) -> None:
    """Refuse a transform that no training with the configuration could have written."""
    fitted = [_fitted_as(*pair) for pair in zip(untrained.encodings, transform.encodings, strict=False)]
    for name, expected, received in (
        ("steps", untrained.steps, transform.steps),
        ("encodings", tuple(fitted), transform.encodings[: len(fitted)]),
        ("number of encodings", len(untrained.encodings), len(transform.encodings)),
    ):
        if expected != received:
            raise DataFormatError(
                f"by config.json the {name} of transform.json must be {expected!s:.150}. Received: {received!s:.150}"
            )


def _fitted_as(untrained: Encoding, fitted: Encoding) -> Encoding:
    """An encoding fitted to the range to which another encoding is fitted."""
    if isinstance(fitted, Standardised) and type(untrained) is type(fitted):
        return untrained.standardised_as(fitted)
    limits = [getattr(fitted, name, 1.0) for name in ("lowest", "highest")]
    return untrained.fit(Conditions(np.array(limits)))


def _require_networks(
    networks: Mapping[str, keras.Model],
    sizes: Mapping[str, int],
    generating: Sequence[str],
    own: Callable[[str], keras.Model | None],
) -> None:
    """Refuse networks whose inputs or outputs do not fit the configuration.

    Exactly one network must have latent points as its input, and the last generating network must give the features of
    a shower. A critic may see something else than the whole shower; its inputs must then have the shapes of the
    network that the model builds under its name, which `own` gives.
    """
    generators = {name: network for name, network in networks.items() if "latent" in _shapes(network.inputs)}
    if len(generators) != 1:
        raise DataFormatError(f"one network must have an input named 'latent'. Received: {len(generators)} of them")
    ((name, generator),) = generators.items()
    last = generating[-1] if generating[-1] in networks else name
    outputs = [tuple(tensor.shape) for tensor in networks[last].outputs]
    if {"latent", "condition"} != set(_shapes(generator.inputs)) or outputs != [(None, sizes["shower"])]:
        raise DataFormatError(
            f"{name}.keras must have the inputs latent and condition and the output (None, {sizes['shower']}), a "
            f"shower's features. Received: inputs {sorted(_shapes(generator.inputs))}, outputs {outputs!s:.100}"
        )
    for name, network in networks.items():
        for tensor, shape in _shapes(network.inputs).items():
            if tensor in sizes and shape != (None, sizes[tensor]) and shape != _shapes_of(own(name)).get(tensor):
                raise DataFormatError(
                    f"the input {tensor} of {name}.keras must have shape (None, {sizes[tensor]}). Received: {shape}"
                )


def _shapes_of(network: keras.Model | None) -> dict[str, tuple[int | None, ...]]:
    """Shapes of a network's inputs; an empty table where the model has no such network."""
    return {} if network is None else _shapes(network.inputs)


def _shapes(tensors: Sequence[keras.KerasTensor]) -> dict[str, tuple[int | None, ...]]:
    return {tensor.name: tuple(tensor.shape) for tensor in tensors}
