"""Training: fits the model, evaluates it and exports it to ONNX."""
