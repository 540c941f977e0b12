"""What the networks of the zoo have in common: their data, and where their weights lie."""

from collections.abc import Callable
from pathlib import Path

import torch
from data import PIPELINE, read
from torch.nn import functional

from hasten import Data, Task

TRAIN, CALIBRATE = 50_000, 512  # of the training set; its last 10,000 images validate


def checkpoint(name: str) -> Path:
    return Path(__file__).with_name(f"{name}.safetensors")


def trained(name: str, build: Callable[[], torch.nn.Module]) -> Callable[[], torch.nn.Module]:
    """A function that builds the network with the weights that train.py has left."""

    def with_weights() -> torch.nn.Module:
        from safetensors.torch import load_file

        net = build()
        net.load_state_dict(load_file(checkpoint(name)))
        return net

    return with_weights


def loss(outputs: dict[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the logits f32 [N, classes]."""
    return functional.cross_entropy(next(iter(outputs.values())), target)


def images(split: str, which: slice) -> Data:
    """Input `image` uint8 [N, 28, 28], target int64 [N]."""
    pixels, labels = read(split)
    return Data({"image": pixels[which]}, labels[which])


def fashion(name: str, build: Callable[[], torch.nn.Module]) -> Task:
    """The task of a network that tells the ten kinds of clothes of Fashion-MNIST apart."""
    return Task(
        name,
        trained(name, build),
        metric="top1",
        train=lambda: images("train", slice(TRAIN)),
        calibrate=lambda: images("train", slice(CALIBRATE)),
        validate=lambda: images("train", slice(TRAIN, None)),
        test=lambda: images("t10k", slice(None)),
        loss=loss,
        pipeline=PIPELINE,
    )
