from dataclasses import replace

import numpy as np
import pytest

from calogen.errors import ConfigError
from calogen.features.moments import moments
from calogen.models.atlas_vae import CONFIGS, AtlasVaeConfig, build, build_trainer, build_transform
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_VAE_WINDOW


def test_parameters_are_those_of_figure_3() -> None:
    networks = build(*CONFIGS["paper"])
    assert {name: network.count_params() for name, network in networks.items()} == {
        "encoder": 276_183,
        "decoder": 275_973,
    }
    widths = [layer.units for layer in networks["decoder"].layers if hasattr(layer, "units")]
    assert widths == [50, 100, 500, 281, 281]
    shapes = {tensor.name: tuple(tensor.shape) for tensor in networks["decoder"].inputs}
    assert shapes == {"latent": (None, 5), "condition": (None, 1)}


def test_the_ablation_has_cells_only() -> None:
    networks = build(*CONFIGS["absolute"])
    assert (None, 276) in [tensor.shape for tensor in networks["encoder"].inputs]
    assert networks["decoder"].output_shape == (None, 276)


def test_features_of_both_inputs(tiny_showers: Showers) -> None:
    fractions = build_transform(AtlasVaeConfig(), tiny_showers.geometry).fit(tiny_showers)
    assert fractions.forward(tiny_showers).shape == (400, 12 + 3 + 1)
    absolute = build_transform(AtlasVaeConfig(inputs="absolute"), tiny_showers.geometry).fit(tiny_showers)
    np.testing.assert_allclose(absolute.forward(tiny_showers), tiny_showers.energies / 262_144.0, rtol=1e-6)


def test_the_window_has_281_features() -> None:
    assert ATLAS_VAE_WINDOW.size + len(ATLAS_VAE_WINDOW.layers) + 1 == 281


def test_the_untrained_decoder_starts_at_the_mean_shower(tiny_showers: Showers) -> None:
    config = AtlasVaeConfig()
    transform = build_transform(config, tiny_showers.geometry).fit(tiny_showers)
    features = transform.forward(tiny_showers)
    networks = build(config, tiny_showers.geometry)
    build_trainer(config, tiny_showers.geometry, networks, moments(features))
    last = networks["decoder"].get_layer("shower")
    np.testing.assert_allclose(1 / (1 + np.exp(-last.bias.numpy())), features.mean(axis=0), rtol=1e-4)
    zero = build(replace(config, output_bias="zero"), tiny_showers.geometry)
    build_trainer(replace(config, output_bias="zero"), tiny_showers.geometry, zero, moments(features))
    assert not np.any(zero["decoder"].get_layer("shower").bias.numpy())


def test_seeds_make_different_networks(tiny_showers: Showers) -> None:
    first, second = (build(AtlasVaeConfig(seed=seed), tiny_showers.geometry)["decoder"] for seed in (1, 2))
    kernels = [network.get_layer("shower").kernel.numpy() for network in (first, second)]
    assert (kernels[0] != kernels[1]).all()
    same = [layer.kernel.numpy() for layer in first.layers if hasattr(layer, "kernel")]
    assert np.abs(np.corrcoef(same[1].ravel()[:1000], same[2].ravel()[:1000])[0, 1]) < 0.2


@pytest.mark.parametrize(
    "values",
    [
        {"inputs": "cells"},
        {"condition": "sqrt"},
        {"output_bias": "none"},
        {"latent_dim": 0},
        {"spread_floor": 0.0},
        {"kl_weight": 2.0},
        {"encoder_units": (281, 0)},
        {"epochs": 0},
        {"batch_size": 0},
        {"validation_fraction": 1.0},
    ],
)
def test_nonsense_is_refused(values: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(values)) if "units" not in str(values) else "hidden layers"):
        AtlasVaeConfig(**values)
