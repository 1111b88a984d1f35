import keras
import numpy as np
import pytest
from conftest import TINY_VOLUME, make_showers

from calogen.errors import ConfigError
from calogen.models.getting_high_gan import (
    CONFIGS,
    GettingHighGanConfig,
    build,
    build_discriminator,
    build_generator,
    build_latent,
    build_trainer,
    build_transform,
)
from calogen.showers.grids import AHCAL_GRID, ILD_GRID


def trainable(network: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


def test_networks_have_the_weights_of_paper_and_code() -> None:
    """A.1: 1.5M and 2.0M; 4,392,224 and 2,056,097 are those of the public code."""
    paper, discriminator = build(*CONFIGS["paper"]).values()
    assert trainable(paper) == 1_507_984
    assert trainable(discriminator) == 2_056_097
    assert trainable(build_generator(*CONFIGS["code"])) == 4_392_224
    laptop = build(*CONFIGS["laptop"])
    assert {name: trainable(network) for name, network in laptop.items()} == {
        "generator": 581_960,
        "discriminator": 128_873,
    }


def test_volumes_double_from_4_to_32_cells_and_shrink_to_one() -> None:
    generator, discriminator = (make(CONFIGS["laptop"][0], ILD_GRID) for make in (build_generator, build_discriminator))
    made = [layer.output.shape[1] for layer in generator.layers if isinstance(layer, keras.layers.Conv3DTranspose)]
    assert made == [8, 16, 32]
    assert generator.output_shape == (None, 27_000)
    seen = [layer.output.shape[1] for layer in discriminator.layers if isinstance(layer, keras.layers.Conv3D)]
    assert seen == [17, 9, 5, 3, 1]


def test_other_grids_have_volumes_of_their_own() -> None:
    generator = build_generator(CONFIGS["laptop"][0], AHCAL_GRID)
    assert generator.output_shape == (None, 48 * 25 * 25)


def test_the_noise_is_multiplied_by_the_energy() -> None:
    """Twice the noise at an energy is the noise at twice the energy."""
    generator = build_generator(CONFIGS["laptop"][0], TINY_VOLUME)
    noise = build_latent(CONFIGS["laptop"][0]).draw(5, 1)
    assert np.abs(noise).max() <= 1
    energy = np.linspace(10, 50, 5, dtype=np.float32)[:, None]
    one, other = (
        generator({"latent": latent, "condition": condition}).numpy()
        for latent, condition in ((2 * noise, energy), (noise, 2 * energy))
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)
    assert (one >= 0).all()
    assert one.std() > 0


def test_features_are_energies_beside_the_photons_energy() -> None:
    showers = make_showers(TINY_VOLUME, 10)
    chain = build_transform(GettingHighGanConfig(), TINY_VOLUME).fit(showers)
    np.testing.assert_array_equal(chain.forward(showers), showers.energies)
    np.testing.assert_allclose(chain.condition(showers.given)[:, 0], showers.incident_energies / 1000)


def test_the_code_uses_the_same_showers_twice() -> None:
    for name, expected in (("paper", True), ("code", False)):
        config = CONFIGS[name][0]
        trainer = build_trainer(config, TINY_VOLUME, build(config, TINY_VOLUME), None)  # type: ignore[arg-type]
        assert trainer._new_fakes is expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be above 0"),
        ({"generator_filters": (3,)}, "generator_filters: 2 or more"),
        ({"discriminator_filters": (3,)}, "discriminator_filters must be 2 or more"),
        ({"discriminator_units": (0,)}, "at least one filter or unit"),
        ({"latent_distribution": "cauchy"}, "latent_distribution must be one of"),
        ({"beta_1": 1.0}, "beta_1 must be 0 or more, below 1"),
    ],
)
def test_nonsense_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GettingHighGanConfig(**values)  # type: ignore[arg-type]
