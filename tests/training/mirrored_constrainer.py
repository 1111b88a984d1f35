"""Trains a constrainer beside a WGAN on two replicas, as `mirrored_worker` does; writes both replicas' weights.

Usage: python mirrored_constrainer.py FILE
"""

import sys
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from calogen.training.constrained_wgan import ConstrainedWganGp, Constrainer
from calogen.training.discrepancies import Discrepancy, SortedKernel

if __name__ == "__main__":
    import mirrored_worker

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        shower = keras.Input((4,), name="shower")
        told = keras.layers.Dense(1, kernel_initializer=mirrored_worker.initializer(5))(shower)
        network = keras.Model({"shower": shower}, told)
        before = network.get_weights()
        constrainer = Constrainer(network=network, optimizer=keras.optimizers.SGD(0.1), loss_weight=0.1, iterations=1)
        term = Discrepancy(SortedKernel(window=2, stride=1, reach=2, alpha=1.0), 0.0)
        mirrored_worker.WganGp = partial(ConstrainedWganGp, constrainer=constrainer, discrepancy=term)
        trainer = mirrored_worker.make_trainer()
    trainer.fit(mirrored_worker.batch_of(((0, 0), (0, 1), (1, 0), (1, 1))), verbose=0, shuffle=False)
    replicas = [[part.numpy() for part in weight.value.values] for weight in network.trainable_variables]
    np.savez(sys.argv[1], before=before[0], after=np.stack(replicas[0]))
