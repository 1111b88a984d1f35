"""onnxruntime: one shower of the exported model, as `calogen export` writes it."""

import onnxruntime
from cases import Case
from serve import Calls, serve

from calogen.athena.onnx_volumes import volumes_to_onnx
from calogen.training.run import chain_of


def make(case: Case) -> Calls:
    """One shower; onnxruntime does not train."""
    if case.name == "post-processor":
        return {}
    networks = case.networks()
    generator = chain_of([networks[name] for name in case.model.GENERATES if name in networks])
    steps = case.model.build_transform(case.config, case.grid).steps
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = case.threads, 1
    content = volumes_to_onnx(generator, steps).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = {"latent": case.latent(1), "condition": case.showers(1)[1]}
    return {"shower": lambda: session.run(None, inputs)}


if __name__ == "__main__":
    serve(make)
