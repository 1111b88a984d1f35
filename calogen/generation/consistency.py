"""Do the files of a trained run fit one another?"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from calogen.backend import keras
from calogen.errors import CalogenError, DataFormatError
from calogen.features.conditions import Encoding
from calogen.features.transforms import Chain
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import Geometry


def require_consistent(
    directory: Path,
    module: ModuleType,
    config: Any,
    geometry: Geometry,
    networks: Mapping[str, keras.Model],
    transform: Chain,
) -> None:
    """Refuse a run whose configuration, transform and networks are not one run's.

    Args:
        directory: of the run, for the message.
        module: of the model.
        config, geometry, networks, transform: what the directory's files hold.

    Raises:
        DataFormatError: names the files that disagree, and in what.
    """
    try:
        _require_transform(module.build_transform(config, geometry), transform)
        sizes = {
            "latent": module.build_latent(config).dim,
            "condition": transform.condition_dim,
            "shower": transform.num_features(geometry),
        }
        _require_networks(networks, sizes, module.GENERATES, lambda name: module.build(config, geometry).get(name))
    except (CalogenError, AttributeError) as error:
        raise DataFormatError(
            f"{directory} must hold the files of one run: {error!s:.500} (were they copied from different runs?)"
        ) from error


def _require_transform(untrained: Chain, transform: Chain) -> None:
    """Refuse a transform that no training of the configuration could have left."""
    fitted = [_fitted_as(*pair) for pair in zip(untrained.encodings, transform.encodings, strict=False)]
    for name, expected, found in (
        ("steps", untrained.steps, transform.steps),
        ("encodings", tuple(fitted), transform.encodings[: len(fitted)]),
        ("number of encodings", len(untrained.encodings), len(transform.encodings)),
    ):
        if expected != found:
            raise DataFormatError(
                f"by config.json the {name} of transform.json must be {expected!s:.150}. Received: {found!s:.150}"
            )


def _fitted_as(untrained: Encoding, fitted: Encoding) -> Encoding:
    """An encoding fitted to the range of another one."""
    limits = [getattr(fitted, name, 1.0) for name in ("lowest", "highest")]
    return untrained.fit(Conditions(np.array(limits)))


def _require_networks(
    networks: Mapping[str, keras.Model],
    sizes: Mapping[str, int],
    generates: Sequence[str],
    own: Callable[[str], keras.Model | None],
) -> None:
    """Refuse networks of other sizes.

    One of them, and no more, has points of the latent space as input; the last of those that generate gives features.
    A critic may look at something else than the whole shower: `own` gives the model's network of a name.
    """
    generators = {name: network for name, network in networks.items() if "latent" in _shapes(network.inputs)}
    if len(generators) != 1:
        raise DataFormatError(f"one network must have an input named 'latent'. Received: {len(generators)} of them")
    ((name, generator),) = generators.items()
    last = generates[-1] if generates[-1] in networks else name
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
    """Shapes of the inputs; none where the model has no network of that name."""
    return {} if network is None else _shapes(network.inputs)


def _shapes(tensors: Sequence[Any]) -> dict[str, tuple[int | None, ...]]:
    return {tensor.name: tuple(tensor.shape) for tensor in tensors}
