"""Devices that share the showers of each training step.

Every device has a copy of all networks and an equal part of each batch, and gradients are summed, so that a step is the
one that a single device takes with the whole batch. What looks at a batch as a whole sees each device's part of it
(batch normalisation, discrepancies between distributions), and each device has noise of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from calogen.backend import tf
from calogen.config import require
from calogen.process import tell

ONE, MIRRORED, MULTI_WORKER = "one", "mirrored", "multi-worker"
_INSTEAD = "one training uses the devices of one machine; train one network or seed for each GPU (--only, --cluster)"

_shared: "tf.distribute.Strategy | None" = None


@contextmanager
def training_devices(strategy: str, names: Sequence[str] | None = None) -> Iterator[None]:
    """The trainings of a block (`training_scope`) share devices.

    Args:
        strategy: `one` device, or `mirrored`: all GPUs of this machine, or all devices of its processor without one.
        names: names of the devices, instead.

    Raises:
        ConfigError: there is no such strategy.
    """
    global _shared  # noqa: PLW0603 (trainings are deep in the work, and do not know their devices)
    require(strategy != MULTI_WORKER, f"--strategy {MULTI_WORKER} is not supported: {_INSTEAD}")
    require(strategy in (ONE, MIRRORED), f"--strategy must be {ONE} or {MIRRORED}. Received: {strategy}")
    if strategy == ONE:
        yield
        return
    kinds = [tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU")]
    names = names or [device.name for device in kinds[0] or kinds[1]]
    tell(f"devices that share each batch: {len(names)}")
    if len(names) == 1:
        yield
        return
    _shared = tf.distribute.MirroredStrategy(names)
    try:
        yield
    finally:
        _shared = None


@contextmanager
def training_scope() -> Iterator[None]:
    """Networks and optimizers of this block have a copy on each of the `training_devices`."""
    if _shared is None:
        yield
        return
    with _shared.scope():
        yield
