"""Tiny networks of cells, as after training, for the tests of what exports them."""

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np
from toy_generators import perturbed

from calogen.features.conditions import Encoding
from calogen.features.transforms import Chain, KineticFractions, Step
from calogen.models import atlas_gan
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import Geometry
from calogen.showers.windows import ATLAS_GAN_WINDOW
from calogen.training.latent import Latent
from calogen.training.run import TrainedRun, assemble_run

CONFIG = replace(
    atlas_gan.CONFIGS["paper"][0],
    latent_dim=3,
    generator_units=(6, 5),
    critic_units=(4,),
    energy_critic_units=(4,),
    batch_size=8,
    iterations=4,
)


def random_photons(num_photons: int, seed: int = 1) -> Conditions:
    """Photons of 1 to 262 GeV as those of the bundled sample: eta 0.2 to 0.25, any phi."""
    rng = np.random.default_rng(seed)
    impact = {"impact_eta": rng.uniform(0.2, 0.25, num_photons), "impact_phi": rng.uniform(0, 2 * np.pi, num_photons)}
    return Conditions(2.0 ** rng.uniform(10, 18, num_photons), impact)


def make_cell_gan(*, position: bool = True) -> TrainedRun:
    """A GAN of 266 cells with trained swishes, and biases that give other energies to each cell."""
    config = replace(CONFIG, impact_position=position)
    networks = atlas_gan.build(config, ATLAS_GAN_WINDOW)
    for variable in perturbed(networks["generator"]).weights:
        if "kernel" in variable.path:  # so that every input tells
            variable.assign(5 * variable.numpy())
    transform = atlas_gan.build_transform(config, ATLAS_GAN_WINDOW).fit(random_photons(500))
    return assemble_run(atlas_gan, config, ATLAS_GAN_WINDOW, networks, transform)


def make_cell_network(
    encodings: Sequence[Encoding],
    layers: Sequence[keras.Layer],
    *,
    latent: Latent = Latent(dim=3),  # noqa: B008 (frozen)
    steps: Sequence[Step] = (KineticFractions(),),
    geometry: Geometry = ATLAS_GAN_WINDOW,
) -> TrainedRun:
    """A network of latent space and condition with these layers, of which the last one gives the cells."""
    keras.utils.set_random_seed(3)
    transform = Chain(tuple(steps), tuple(encodings)).fit(random_photons(500))
    inputs = [keras.Input((latent.dim,), name="latent"), keras.Input((transform.condition_dim,), name="condition")]
    tensor = keras.layers.Concatenate()(inputs)
    for layer in layers:
        tensor = layer(tensor)
    model = perturbed(keras.Model({item.name: item for item in inputs}, tensor, name="generator"))
    networks, history = {"generator": model}, []  # type: ignore[var-annotated]
    return TrainedRun("atlas_gan", CONFIG, geometry, networks, transform, history, latent, ("generator",))
