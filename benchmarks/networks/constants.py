"""A MobileNet-like network (ReLU6, depthwise convolutions) on Fashion-MNIST whose weights are held in Constant nodes.

PYTHONPATH=benchmarks python -m networks.constants       trains it again (two minutes)
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from networks.export import accuracy, export, keep, recall, save, train
from networks.fashion import CALIBRATE, TRAIN, images

METRIC, MAX_DROP = "top1", 0.01
CHECKPOINT = Path(__file__).with_name("constants.safetensors")


class Inverted(nn.Module):
    """Widen, filter each channel by itself, narrow, skip (Sandler et al. 2018, arXiv 1801.04381)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, widen: int = 4) -> None:
        super().__init__()
        wide = channels_in * widen
        self.skip = stride == 1 and channels_in == channels_out
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.skip else self.body(x)


class Mobile(nn.Module):
    """image f32 [N, 1, 28, 28] -> logits f32 [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 3, 1, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU6())
        self.body = nn.Sequential(
            Inverted(24, 32, 2), Inverted(32, 32, 1), Inverted(32, 64, 2), Inverted(64, 64, 1), Inverted(64, 64, 1)
        )
        self.tail = nn.Sequential(nn.Conv2d(64, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU6())
        self.head = nn.Linear(256, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.tail(self.body(self.stem(image))).mean((2, 3)))


def hold_in_constants(path: Path) -> None:
    """Rewrite an ONNX file in place: every initializer becomes the output of a Constant node."""
    model = onnx.load(path)
    held = [
        onnx.helper.make_node("Constant", [], [w.name], name=f"held_{i}", value=w)
        for i, w in enumerate(model.graph.initializer)
    ]
    nodes = list(model.graph.node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(held + nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def make(folder: Path) -> None:
    calibrate = images("train", slice(CALIBRATE))
    del calibrate["target"]
    export(recall(Mobile(), CHECKPOINT), calibrate, folder / "model.onnx")
    hold_in_constants(folder / "model.onnx")
    save(
        folder,
        calibrate=calibrate,
        validate=images("train", slice(TRAIN, TRAIN + 5000)),
        test=images("t10k", slice(None)),
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    data = {k: torch.from_numpy(np.array(v)) for k, v in images("train", slice(25_000)).items()}
    order = torch.Generator().manual_seed(0)

    def batches():
        for pick in torch.randperm(len(data["target"]), generator=order).split(128):
            yield (data["image"][pick].contiguous(memory_format=torch.channels_last),), data["target"][pick]

    net = Mobile().to(memory_format=torch.channels_last)
    train(net, batches, epochs=4, rate=4e-3)
    keep(net, CHECKPOINT)
    print(f"test {accuracy(recall(net, CHECKPOINT), images('t10k', slice(None))):.2f} %")
