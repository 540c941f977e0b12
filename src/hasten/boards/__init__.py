"""Boards that a network is sent to as a folder, one file each: what its TensorRT reads, and what its script says."""
