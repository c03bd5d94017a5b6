"""ONNX Runtime as this project uses it: on one thread."""

import onnxruntime


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """A session for the model. One row takes microseconds: a pool of threads would cost more than it saves,
    and take the processor from other workers. Raises what onnxruntime raises where it cannot load the model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong comes as an exception
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
