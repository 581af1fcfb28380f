"""ONNX graphs, the weights that they store in 8 bits, and the way back to torch."""
