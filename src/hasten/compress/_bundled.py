"""A bundle as a network to learn from: it answers as it runs, on its own engine, and cannot be trained."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from hasten.bundle import Bundle
from hasten.errors import InputError
from hasten.manifest import read
from hasten.pipeline import Pipeline
from hasten.prepare import Prepare


class Bundled(nn.Module):
    """Prepared tensors in, the bundle's outputs by name; its seal is its only state, so that others are told apart."""

    seal: torch.Tensor  # uint8 [32]

    def __init__(self, folder: Path, pipeline: Pipeline, names: Sequence[str]) -> None:
        """
        Args:
            pipeline: which has prepared what it will be given.
            names: of the inputs, in the order in which they are given.

        Raises:
            InputError: it prepares otherwise, or as Bundle.load.
        """
        super().__init__()
        self.bundle, self._names = Bundle.load(folder), tuple(names)
        mine, plain = self.bundle.pipeline, Prepare()
        for name in sorted({*mine.inputs, *pipeline.inputs}):
            if mine.inputs.get(name, plain) != pipeline.inputs.get(name, plain) or mine.window != pipeline.window:
                raise InputError(f"{folder} prepares {name!r} otherwise than the task", "make it of this task")
        self.register_buffer("seal", torch.frombuffer(bytearray.fromhex(read(folder)["seal"]), dtype=torch.uint8))

    def forward(self, *feed: torch.Tensor) -> dict[str, torch.Tensor]:
        arrays = {name: tensor.numpy() for name, tensor in zip(self._names, feed, strict=True)}
        return {name: torch.from_numpy(array) for name, array in self.bundle.infer(arrays).items()}
