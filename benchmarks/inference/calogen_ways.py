"""Generation by calogen, and with Keras, TensorFlow and LiteRT instead."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from serve import check, serve, settings

from calogen.backend import keras, tf
from calogen.generation import engines
from calogen.generation.folding import fold
from calogen.generation.generate import compile_one_shower
from calogen.generation.load import load_run
from calogen.training.run import TrainedRun

GIVEN = settings()
MOMENTUM = 65536.0  # MeV
Network = Callable[[np.ndarray, np.ndarray], np.ndarray]


def main() -> None:
    """Serves one way; 0 stands for one shower from its noise to energies in MeV."""
    for set_threads in (
        tf.config.threading.set_intra_op_parallelism_threads,
        tf.config.threading.set_inter_op_parallelism_threads,
    ):
        set_threads(GIVEN.threads)
    serve(make, [(network, showers) for network, showers in GIVEN.tasks])


def make(name: str, showers: int) -> Callable[[], object]:
    """Makes the call of one network that generates a number of showers."""
    run = load_run(Path(GIVEN.folder) / name)
    incident = np.full(max(showers, 1), MOMENTUM)
    latent, condition = run.latent.draw(len(incident), 1), run.transform.condition(incident)
    if GIVEN.way in OURS:
        if not showers:
            one_shower = compile_one_shower(run)
            return lambda: one_shower(MOMENTUM)
        engine, energies = OURS[GIVEN.way](run, showers), np.empty((showers, run.geometry.size), np.float32)
        compare(name, run, engine)
        return lambda: engine(latent, condition, incident, energies)
    network = FOREIGN[GIVEN.way](run.generator)
    check(GIVEN.folder, name, lambda values: network(values[:, :-1].copy(), values[:, -1:].copy()))
    if showers:
        return lambda: network(latent, condition)

    def whole() -> np.ndarray:
        features = network(run.latent.draw(1, 1), run.transform.condition(incident))
        return run.transform.energies(features, incident)

    return whole


def compare(name: str, run: TrainedRun, engine: engines.Engine) -> None:
    """Refuse an engine whose showers are not those of Keras."""
    incident = np.full(10, MOMENTUM)
    latent, condition = run.latent.draw(len(incident), 2), run.transform.condition(incident)
    received, expected = (np.empty((len(incident), run.geometry.size), np.float32) for _ in range(2))
    engine(latent, condition, incident, received)
    engines.KerasEngine(run.generator, run.transform)(latent, condition, incident, expected)
    difference = np.abs(received - expected).max() / expected.sum(axis=1).max()
    if not difference < 1e-5:
        raise ValueError(f"{name}: {GIVEN.way} differs from Keras by {difference:.1e} of a shower's energy")


def predict(generator: keras.Model) -> Network:
    """`model.predict`, all showers in one batch."""
    return lambda latent, condition: generator.predict(
        {"latent": latent, "condition": condition}, batch_size=len(latent), verbose=0
    )


def call(generator: keras.Model) -> Network:
    """`model(x)`."""
    return lambda latent, condition: generator({"latent": latent, "condition": condition}).numpy()


def function(generator: keras.Model) -> Network:
    """`tf.function(model)`, traced for the number of showers."""
    compiled = tf.function(lambda latent, condition: generator({"latent": latent, "condition": condition}))
    return lambda latent, condition: compiled(tf.constant(latent), tf.constant(condition)).numpy()


def litert(generator: keras.Model) -> Network:
    """LiteRT with its XNNPACK kernels."""
    from ai_edge_litert.interpreter import Interpreter

    with tempfile.TemporaryDirectory() as folder:
        generator.export(f"{folder}/generator.tflite", format="litert", verbose=False)
        content = Path(folder, "generator.tflite").read_bytes()
    interpreter = Interpreter(model_content=content, num_threads=GIVEN.threads)
    wide, narrow = sorted(interpreter.get_input_details(), key=lambda item: -item["shape"][1])
    output = interpreter.get_output_details()[0]["index"]
    allocated: list[int] = []

    def run(latent: np.ndarray, condition: np.ndarray) -> np.ndarray:
        if allocated != [len(latent)]:
            for item, values in ((wide, latent), (narrow, condition)):
                interpreter.resize_tensor_input(item["index"], values.shape)
            interpreter.allocate_tensors()
            allocated[:] = [len(latent)]
        interpreter.set_tensor(wide["index"], latent)
        interpreter.set_tensor(narrow["index"], condition)
        interpreter.invoke()
        return interpreter.get_tensor(output)

    return run


def litert_in_blocks(generator: keras.Model) -> Network:
    """LiteRT block after block, as our engine does; an interpreter serves the last block."""
    whole, rest = litert(generator), litert(generator)

    def run(latent: np.ndarray, condition: np.ndarray) -> np.ndarray:
        parts = [slice(start, start + engines.BLOCK) for start in range(0, len(latent), engines.BLOCK)]
        compute = [whole if len(latent[part]) == engines.BLOCK else rest for part in parts]
        return np.concatenate([way(latent[part], condition[part]) for way, part in zip(compute, parts, strict=True)])

    return run


def chosen(run: TrainedRun, showers: int) -> engines.Engine:
    """The engine that `generate` chooses."""
    return engines.engine(run.generator, run.transform, showers)


OURS = {
    "ours": chosen,
    "ours, TensorFlow": lambda run, showers: engines.TensorflowEngine(fold(run.generator, run.transform)),
}
FOREIGN = {"model.predict": predict, "model(x)": call, "tf.function": function}
FOREIGN |= {"LiteRT": litert, "LiteRT, in blocks": litert_in_blocks}

if __name__ == "__main__":
    main()
