"""The inverted residuals of examples/zoo, with depthwise convolutions and ReLU6, on Fashion-MNIST."""

from pathlib import Path

from mobile import Mobile  # examples/zoo

from networks import EXAMPLES
from networks.export import export, recall, save
from networks.fashion import CALIBRATE, TRAIN, images

METRIC, MAX_DROP = "top1", 0.01


def make(folder: Path) -> None:
    calibrate = images("train", slice(CALIBRATE))
    del calibrate["target"]
    export(recall(Mobile(), EXAMPLES / "zoo" / "mobile.safetensors"), calibrate, folder / "model.onnx")
    save(folder, calibrate=calibrate, validate=images("train", slice(TRAIN, None)), test=images("t10k", slice(None)))
