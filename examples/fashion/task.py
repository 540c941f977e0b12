"""Fashion-MNIST and a residual network of 1.1 M parameters, trained by the train.py beside this file.

    hasten boost examples/fashion/task.py -o out/fashion --max-drop 0.005

50,000 images train, the first 512 of them calibrate, 10,000 validate, 10,000 test.
"""

from pathlib import Path

from data import PIPELINE, read
from net import FashionNet

from hasten import Data, Task

TRAIN, CALIBRATE = 50_000, 512  # as in train.py: the training set's last 10,000 images validate


def fashion(split: str, which: slice) -> Data:
    """Input `image` as it is, uint8 [N, 28, 28], target int64 [N]."""
    images, labels = read(split)
    return Data({"image": images[which]}, labels[which])


def trained() -> FashionNet:
    from safetensors.torch import load_file

    net = FashionNet()
    net.load_state_dict(load_file(Path(__file__).with_name("fashion.safetensors")))
    return net


def small() -> FashionNet:
    """A student of 77,000 parameters and 9 MMACs."""
    return FashionNet(width=16, blocks=1)


def shaped(width: int, depth: int, kernel: int, stride: int) -> FashionNet:
    """A network of the space, untrained."""
    return FashionNet(width, depth, kernel=kernel, stride=stride)


def loss(outputs, target):
    """Cross-entropy of the logits f32 [N, 10]."""
    from torch.nn import functional

    return functional.cross_entropy(next(iter(outputs.values())), target)


task = Task(
    "fashion",
    trained,
    metric="top1",
    train=lambda: fashion("train", slice(TRAIN)),
    calibrate=lambda: fashion("train", slice(CALIBRATE)),
    validate=lambda: fashion("train", slice(TRAIN, None)),
    test=lambda: fashion("t10k", slice(None)),
    loss=loss,
    students={"small": small},
    builder=shaped,
    space={"width": (12, 16, 24, 32), "depth": (1, 2, 3), "kernel": (3, 5), "stride": (1, 2)},
    pipeline=PIPELINE,
)
