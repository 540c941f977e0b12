"""Passes on the ONNX graph: ONNX → ONNX. One file a pass, and the file is the registration."""
