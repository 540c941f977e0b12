"""The fashion net of examples/fashion: a residual network of 1.1 M parameters with its own images."""

from pathlib import Path

import numpy as np

from fashion.data import PIPELINE, read  # examples/fashion
from fashion.net import FashionNet
from networks import EXAMPLES
from networks.export import export, recall, save

METRIC, MAX_DROP = "top1", 0.005
TRAIN, CALIBRATE = 50_000, 512  # as in the example


def images(split: str, which: slice) -> dict[str, np.ndarray]:
    """image f32 [N, 1, 28, 28], target int64 [N]."""
    pixels, labels = read(split)
    return PIPELINE.prepared({"image": pixels[which]}) | {"target": labels[which]}


def make(folder: Path) -> None:
    calibrate = images("train", slice(CALIBRATE))
    del calibrate["target"]
    export(recall(FashionNet(), EXAMPLES / "fashion" / "fashion.safetensors"), calibrate, folder / "model.onnx")
    save(folder, calibrate=calibrate, validate=images("train", slice(TRAIN, None)), test=images("t10k", slice(None)))
