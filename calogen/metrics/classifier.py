"""The CaloChallenge's classifier, a network that tells two samples of showers apart.

This is the only module of `calogen.metrics` that needs Keras.
"""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit
from scipy.stats import rankdata

from calogen import provenance
from calogen.backend import keras, tf
from calogen.cluster import common_workers
from calogen.config import require, require_above_zero
from calogen.errors import CalogenError, ConfigError
from calogen.metrics.distances import checked_pair
from calogen.metrics.distributions import Value, json_number
from calogen.metrics.kept_trainings import KeptTrainings, forget_samples, store_sample, stored_sample
from calogen.progress import Progress, Silent, progress

MIN_CLASS_SHOWERS = 20
"""Least number of showers in a class: fewer cannot be divided into training, test and validation."""

_SMALLEST = 1e-6  # calibrated scores lie between this and 1 minus this
_BLOCK = 10_000  # number of showers whose scores are computed at a time


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """How the classifier is built and trained; the defaults are the challenge's.

    Args:
        hidden_units: units of the hidden layers (`DNN` in evaluate.py).
        slope: slope of LeakyReLU below 0 (PyTorch's default).
        learning_rate: learning rate of Adam (`--cls_lr`).
        batch_size: number of showers in a batch (`--cls_batch_size`); an incomplete last batch is left out.
        epochs: largest number of epochs (`--cls_n_epochs`).
        shares: relative sizes of the parts for training, test and validation: the challenge's showers of each class.
        bfloat16: whether the matrix products of the hidden layers are in bfloat16 (ours).

    Source: evaluate.py of the CaloChallenge (commit 9b41df72a03a); arXiv:2410.21611.
    """

    hidden_units: tuple[int, ...] = (2048, 2048, 2048)
    slope: float = 0.01
    learning_rate: float = 2e-4
    batch_size: int = 1000
    epochs: int = 50
    shares: tuple[int, int, int] = (80_000, 20_000, 21_000)
    bfloat16: bool = False

    def __post_init__(self) -> None:
        require_above_zero(self, "learning_rate", "batch_size", "epochs")
        for name in ("hidden_units", "shares"):
            values = getattr(self, name)
            require(min(values, default=0) > 0, f"{name} must be above 0. Received: {values}")


CHALLENGE = ClassifierConfig()
"""The challenge's configuration for photons."""

BY_PARTICLE: Mapping[str, ClassifierConfig] = MappingProxyType(
    {"photon": CHALLENGE, "pion": replace(CHALLENGE, shares=(80_000, 20_000, 20_800))}
)
"""The challenge's configurations for data set 1, which has 200 pions less than photons."""


@dataclass(frozen=True)
class ClassifierScore:
    """Scores of classifiers on showers with which they were not trained.

    Args:
        auc: area under the ROC curve, from 0.5 for classes that cannot be told apart to 1; mean and standard deviation
            over the repetitions, whose error is NaN for a single one.
        jsd: Jensen-Shannon divergence, (ln 2 - binary cross-entropy) / ln 2, from 0 to 1 apart from fluctuations.
        aucs, jsds: values of each repetition.
        best_epochs: best epoch of each repetition, counted from 1.
        num_showers: number of showers of each class, all parts together.
    """

    auc: Value
    jsd: Value
    aucs: tuple[float, ...]
    jsds: tuple[float, ...]
    best_epochs: tuple[int, ...]
    num_showers: int

    def to_json(self) -> dict[str, object]:
        """JSON values; an undefined error becomes None."""
        values = asdict(self)
        for name in ("auc", "jsd"):
            values[name]["error"] = json_number(values[name]["error"])
        return values


@dataclass(frozen=True)
class _Part:
    """Inputs `[n, f]` and labels `[n]`: 1 for the reference, 0 for generated showers."""

    inputs: tf.Tensor
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def classify(
    reference: np.ndarray,
    generated: np.ndarray,
    *,
    repetitions: int = 3,
    config: ClassifierConfig = CHALLENGE,
    seed: int = 1,
    trainings: Path | None = None,
) -> ClassifierScore:
    """Trains classifiers and gives their score; see `start_classifying`."""
    finish = start_classifying(
        reference, generated, repetitions=repetitions, config=config, seed=seed, trainings=trainings
    )
    return finish()


def start_classifying(
    reference: np.ndarray,
    generated: np.ndarray,
    *,
    repetitions: int = 3,
    config: ClassifierConfig = CHALLENGE,
    seed: int = 1,
    trainings: Path | None = None,
) -> Callable[[], ClassifierScore]:
    """Trains classifiers and measures how well they tell the two samples apart.

    Workers of a `common_pool` train them side by side, if there is a file of `trainings`: the samples are stored beside
    it for them, and the function that is given waits for the results. Without workers all are there already.

    Each repetition draws the parts and the weights anew. The network is that of the epoch with the highest accuracy on
    the test part; training ends if this is 1. Isotonic regression on the test part calibrates the network's scores, and
    the scores of the validation part give the numbers.

    Args:
        reference, generated: `[n, f]` and `[m, f]`, as from `challenge.classifier_inputs`; of the larger sample, each
            repetition draws as many showers as the smaller one has.
        repetitions: number of classifiers; the published numbers are of ten.
        config: configuration of the network and of its training.
        seed: seed of all random numbers.
        trainings: JSON file for the result of each training, so that an interrupted call can go on; results of other
            samples, configurations, seeds or versions of the code are not used. None: no results are kept.

    Returns:
        A function that gives the score.

    Raises:
        ConfigError: there is no repetition, or a part has no showers.
        DataFormatError: the samples have different columns, fewer than 20 showers, or numbers that are not finite.
        CalogenError: the loss does not stay finite, or the file of trainings is damaged.

    Source: evaluate.py of the CaloChallenge (commit 9b41df72a03a). Ours: single instead of double precision.
    """
    require(repetitions >= 1, f"repetitions must be at least 1. Received: {repetitions}")
    pair = checked_pair(reference, generated, MIN_CLASS_SHOWERS, np.float32)
    size = min(len(sample) for sample in pair)
    kept = KeptTrainings(trainings, _key(*pair, config, seed))
    missing = [number for number in range(repetitions) if number not in kept.results]
    pool = common_workers()
    stored = [] if trainings is None else [stored_sample(trainings, kept.key, number) for number in range(2)]
    if pool is None or not stored or not missing:
        forget_samples(stored)  # of a call that was killed
        with progress("classifiers", repetitions * config.epochs, "epochs") as shown:
            shown.skip((repetitions - len(missing)) * config.epochs)
            for number in missing:
                kept.put(number, _train_once(*pair, config, seed, number, shown))
        return lambda: _score(kept.results, repetitions, size)
    first, second = map(store_sample, stored, pair)
    waiting = {pool.submit(_train_stored, first, second, config, seed, number): number for number in missing}

    def finish() -> ClassifierScore:
        try:
            with progress("classifiers", repetitions * config.epochs, "epochs") as shown:
                shown.skip((repetitions - len(missing)) * config.epochs)
                for future in as_completed(waiting):
                    kept.put(waiting[future], future.result())
                    shown.advance(config.epochs)
        finally:
            for future in waiting:
                future.cancel()
            forget_samples(stored)
        return _score(kept.results, repetitions, size)

    return finish


def build_classifier(num_inputs: int, config: ClassifierConfig, rng: np.random.Generator) -> keras.Model:
    """Builds the network, `[b, f]` -> logit `[b, 1]`.

    Weights and biases are uniform within 1 / sqrt(number of the layer's inputs), as PyTorch draws them.
    """
    policy = "mixed_bfloat16" if config.bfloat16 else "float32"
    sizes = (num_inputs, *config.hidden_units)

    def dense(inputs: int, units: int, dtype: str) -> keras.layers.Layer:
        seeds, limit = rng.integers(2**31, size=2).tolist(), inputs**-0.5
        weights, biases = (keras.initializers.RandomUniform(-limit, limit, seed) for seed in seeds)
        return keras.layers.Dense(units, kernel_initializer=weights, bias_initializer=biases, dtype=dtype)

    layers = [keras.Input((num_inputs,), dtype="float32")]
    for inputs, units in pairwise(sizes):
        layers += [dense(inputs, units, policy), keras.layers.LeakyReLU(config.slope, dtype=policy)]
    return keras.Sequential([*layers, dense(sizes[-1], 1, "float32")])


def area_under_curve(labels: np.ndarray, scores: np.ndarray) -> float:
    """Probability that a shower of label 1 has a higher score than one of label 0.

    Equal scores count half.

    >>> area_under_curve(np.array([0, 1, 0, 1]), np.array([0.1, 0.5, 0.5, 0.9]))
    0.875
    """
    positive = labels == 1
    ones, zeros = np.count_nonzero(positive), np.count_nonzero(~positive)
    return float((rankdata(scores)[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def calibrate(scores: np.ndarray, labels: np.ndarray, uncalibrated: np.ndarray) -> np.ndarray:
    """Isotonic regression of labels on scores, evaluated at further scores.

    The fitted function is linear between the scores and constant beyond the outermost ones.

    Args:
        scores, labels: scores and labels of the showers that calibrate, `[n]`.
        uncalibrated: the scores to calibrate, `[m]`.

    Returns:
        The calibrated scores, `[m]`, from 1e-6 to 1 - 1e-6.

    Source: evaluate.py of the CaloChallenge; sklearn.isotonic.IsotonicRegression.
    """
    places, inverse, numbers = np.unique(scores, return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(inverse, labels) / numbers, weights=numbers).x
    return np.interp(uncalibrated, places, fitted.clip(_SMALLEST, 1 - _SMALLEST))


def _train_stored(
    reference: Path, generated: Path, config: ClassifierConfig, seed: int, repetition: int
) -> tuple[float, float, int]:
    """What a worker does with samples that were stored: `_train_once`."""
    ours, theirs = (np.load(path, allow_pickle=False) for path in (reference, generated))
    return _train_once(ours, theirs, config, seed, repetition, Silent())


def _train_once(
    reference: np.ndarray,
    generated: np.ndarray,
    config: ClassifierConfig,
    seed: int,
    repetition: int,
    shown: Progress,
) -> tuple[float, float, int]:
    """AUC, JSD and best epoch of one classifier."""
    rng = np.random.default_rng((seed, repetition))
    training, test, validation = _split(reference, generated, config.shares, rng)
    network = build_classifier(reference.shape[1], config, rng)
    best_epoch = _train(network, training, test, config, rng, shown)
    return (*_measure(network, test, validation), best_epoch)


def _split(
    reference: np.ndarray, generated: np.ndarray, shares: tuple[int, int, int], rng: np.random.Generator
) -> list[_Part]:
    """Parts for training, test and validation, with equally many showers of both classes."""
    number = min(len(reference), len(generated))
    ends = np.cumsum(shares) * number // sum(shares)
    if np.diff(ends, prepend=0).min() < 1:
        raise ConfigError(f"shares must leave showers in every part. Received: {shares} for {number} showers")
    drawn = [sample[rng.permutation(len(sample))[:number]] for sample in (reference, generated)]
    return [
        _Part(
            tf.constant(np.concatenate([sample[start:end] for sample in drawn])),
            np.repeat(np.array([1, 0], np.float32), end - start),
        )
        for start, end in pairwise((0, *ends))
    ]


def _train(
    network: keras.Model,
    training: _Part,
    test: _Part,
    config: ClassifierConfig,
    rng: np.random.Generator,
    shown: Progress,
) -> int:
    """Trains the network, gives it the weights of the best epoch, and returns this epoch."""
    run_epoch = _compile_epoch(network, training, config)
    best_epoch, best_accuracy, weights = 0, -1.0, []
    for epoch in range(1, config.epochs + 1):
        loss = run_epoch(rng.permutation(len(training)))
        if not np.isfinite(loss):
            raise CalogenError(
                f"the classifier's loss must stay finite. Received: {loss} in epoch {epoch} "
                "(a smaller learning_rate may help)"
            )
        accuracy = _accuracy(network, test)
        if accuracy > best_accuracy:
            best_epoch, best_accuracy, weights = epoch, accuracy, network.get_weights()
        shown.note(f"loss {loss:.3g}")
        shown.advance()
        if accuracy == 1:
            shown.skip(config.epochs - epoch)
            break
    network.set_weights(weights)
    return best_epoch


def _compile_epoch(network: keras.Model, data: _Part, config: ClassifierConfig) -> Callable[[np.ndarray], float]:
    """Compiles an epoch: a function from the order of the showers `[n]` to the mean loss."""
    optimizer = keras.optimizers.Adam(config.learning_rate, epsilon=1e-8)  # PyTorch's default
    variables = network.trainable_variables
    optimizer.build(variables)
    labels = tf.constant(data.labels[:, None])
    batch_size = min(config.batch_size, len(data))
    num_steps = len(data) // batch_size

    def step(number: tf.Tensor, total: tf.Tensor, order: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        rows = tf.slice(order, [number * batch_size], [batch_size])
        with tf.GradientTape() as tape:
            logits = network(tf.gather(data.inputs, rows), training=True)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.gather(labels, rows), logits))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return number + 1, total + loss, order

    @tf.function(autograph=False)
    def epoch(order: tf.Tensor) -> tf.Tensor:
        start = (tf.constant(0), tf.constant(0.0), order)
        return tf.while_loop(lambda number, *_: number < num_steps, step, start)[1] / num_steps

    return lambda order: float(epoch(tf.constant(order, tf.int32)))


def _measure(network: keras.Model, test: _Part, validation: _Part) -> tuple[float, float]:
    """AUC and JSD of the calibrated scores of the validation part."""
    scores, uncalibrated = (expit(_logits(network, part)) for part in (test, validation))
    calibrated = calibrate(scores, test.labels, uncalibrated)
    entropy = -np.mean(np.log(np.where(validation.labels == 1, calibrated, 1 - calibrated)))
    return area_under_curve(validation.labels, calibrated), float(1 - entropy / np.log(2))


def _accuracy(network: keras.Model, part: _Part) -> float:
    return float(np.mean((_logits(network, part) > 0) == part.labels))


def _logits(network: keras.Model, part: _Part) -> np.ndarray:
    """Logits of all showers of a part, `[n]`, float64."""
    blocks = (part.inputs[start : start + _BLOCK] for start in range(0, len(part), _BLOCK))
    return np.concatenate([network(block, training=False).numpy()[:, 0] for block in blocks]).astype(np.float64)


def _key(reference: np.ndarray, generated: np.ndarray, config: ClassifierConfig, seed: int) -> str:
    """Hash of all that the result of a training depends on."""
    about = provenance.collect(seed, {})
    code = {name: about[name] for name in ("commit", "dirty", "versions")}
    digest = hashlib.sha256(f"{code} {config} {seed} {reference.shape} {generated.shape}".encode())
    for sample in (reference, generated):
        digest.update(sample.tobytes())
    return digest.hexdigest()


def _mean(values: tuple[float, ...]) -> Value:
    return Value(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan)


def _score(results: Mapping[int, tuple[float, float, int]], repetitions: int, num_showers: int) -> ClassifierScore:
    """The score of the first so many trainings, by their number."""
    aucs, jsds, best_epochs = zip(*(results[number] for number in range(repetitions)), strict=True)
    return ClassifierScore(_mean(aucs), _mean(jsds), aucs, jsds, best_epochs, num_showers)
