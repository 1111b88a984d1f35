"""Ours: one of the many steps of a compiled call, and the engine that generates."""

from itertools import count

import numpy as np
from cases import Case
from serve import Calls, serve

from calogen.backend import tf
from calogen.features.batches import Resident
from calogen.features.moments import Moments
from calogen.generation.engines import engine
from calogen.training.calls import compile_calls
from calogen.training.run import chain_of


def make(case: Case) -> Calls:
    """The step, and one shower."""
    tf.config.threading.set_intra_op_parallelism_threads(case.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model, networks, (showers, energies) = case.model, case.networks(), case.showers()
    moments = Moments(np.zeros(1), np.ones(1), len(showers))
    trainers = model.build_trainer(case.config, case.grid, networks, moments)
    trainer = trainers[-1 if case.name == "post-processor" else 0] if isinstance(trainers, tuple) else trainers
    run, numbers = compile_calls(trainer, Resident(tf.constant(showers), tf.constant(energies))), count()
    shape = (1, trainer.batches_per_step, case.batch_size)

    def step() -> object:
        return run(np.random.default_rng(next(numbers)).integers(len(showers), size=shape).astype(np.int32))

    if case.name == "post-processor":
        return {"step": step}
    generator = chain_of([networks[name] for name in model.GENERATES if name in networks])
    transform = model.build_transform(case.config, case.grid)
    compute, latent, out = engine(generator, transform, 1), case.latent(1), np.empty((1, case.grid.size), np.float32)
    return {"step": step, "shower": lambda: compute(latent, energies[:1], 1000.0 * energies[:1, 0], out)}


if __name__ == "__main__":
    serve(make)
