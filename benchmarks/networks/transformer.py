"""The small vision transformer of examples/zoo, on Fashion-MNIST."""

from pathlib import Path

from transformer import Transformer  # examples/zoo

from networks import EXAMPLES
from networks.export import export, recall, save
from networks.fashion import CALIBRATE, TRAIN, images

METRIC, MAX_DROP = "top1", 0.01
TRANSFORMER = True


def make(folder: Path) -> None:
    calibrate = images("train", slice(CALIBRATE))
    del calibrate["target"]
    export(recall(Transformer(), EXAMPLES / "zoo" / "transformer.safetensors"), calibrate, folder / "model.onnx")
    save(folder, calibrate=calibrate, validate=images("train", slice(TRAIN, None)), test=images("t10k", slice(None)))
