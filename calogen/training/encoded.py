"""The latent space as the encoder of a trained model fills it with training showers."""

import numpy as np

from calogen.backend import keras
from calogen.features.batches import Batch, FeatureTable, blocks_of
from calogen.provenance import named_seed
from calogen.training.latent import EncodedLatent


def posterior_codes(encoder: keras.Model, block: Batch, random: np.random.Generator) -> np.ndarray:
    """Gives codes `[b, k]` of showers, drawn from their posterior distributions.

    Args:
        encoder: network {"shower": [b, f], "condition": [b, c]} -> {"mean": [b, k], "log_variance": [b, k]}.
    """
    moments = encoder(block)
    mean, spread = moments["mean"].numpy(), np.exp(0.5 * moments["log_variance"].numpy())
    return mean + spread * random.standard_normal(mean.shape, np.float32)


def encoded_latent(encoder: keras.Model, features: FeatureTable, latent_dim: int, seed: int) -> EncodedLatent:
    """Gives the sampler of the codes of showers, one code of each.

    It can replace the prior of any autoencoder's run: `dataclasses.replace(run, latent=encoded_latent(...))`.

    Args:
        encoder: network {"shower": [b, f], "condition": [b, c]} -> {"mean": [b, k], "log_variance": [b, k]}.
        features: features of the training showers.
        latent_dim: size of the latent space, which has noise beside the code if it is larger.
        seed: seed of the codes, which are drawn from the showers' posterior distributions.
    """
    random, codes, conditions = np.random.default_rng(named_seed(seed, "posterior")), [], []
    for block in blocks_of(features, num_rows=4096):
        codes.append(posterior_codes(encoder, block, random))
        conditions.append(block["condition"].numpy())
    return EncodedLatent(np.concatenate(codes), np.concatenate(conditions), latent_dim)
