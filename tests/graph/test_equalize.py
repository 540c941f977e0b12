"""Scales move into neighbours: the network answers as before, and INT8 loses less."""

import numpy as np
import onnx
import pytest
import torch
from test_placed import Attention, Residual
from torch import nn
from trainable import quadrants

from hasten.engines.onnxruntime import OnnxRuntime
from hasten.export import export
from hasten.graph._equalize import equalized
from hasten.graph.quantize import Quantize
from hasten.graph.simplify import simplified
from hasten.model import Arrays, OnnxModel
from hasten.task import Task

OUTLIER = 100.0


class Plain(nn.Module):
    """Groups, ReLU and none between convolutions; linear layers; a norm in front of two readers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.third = nn.Conv2d(8, 16, 1)
        self.norm, self.left, self.right = nn.LayerNorm(16), nn.Linear(16, 8), nn.Linear(16, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.third(self.second(torch.relu(self.first(image)))).mean((2, 3)))
        return self.head(torch.relu(self.left(x) * self.right(x)))


def task(net: nn.Module) -> Task:
    return quadrants(lambda: net.eval())


def graph(given: Task) -> onnx.ModelProto:
    return simplified(export(given.original, given.sample()).model.proto)


def answers(proto: onnx.ModelProto, inputs: Arrays) -> np.ndarray:
    with OnnxRuntime(threads=1).compile(OnnxModel(proto)) as session:
        return next(iter(session(inputs).values()))


@pytest.mark.parametrize("by", ["weights", "activations"])
@pytest.mark.parametrize("kind", [Plain, Residual, Attention])
def test_the_network_answers_as_before(kind: type[nn.Module], by: str) -> None:
    torch.manual_seed(0)
    given = task(kind())
    before = graph(given)
    digest = before.SerializeToString()
    inputs = given.split("test").inputs
    after = equalized(before, by, [given.split("calibrate").inputs])
    assert before.SerializeToString() == digest
    assert any(".equalized" in w.name for w in after.graph.initializer)
    np.testing.assert_allclose(answers(after, inputs), answers(before, inputs), atol=2e-5)


def convolution(proto: onnx.ModelProto, place: int) -> np.ndarray:
    """The weight of the convolution that runs as the `place`th."""
    node = [n for n in proto.graph.node if n.op_type == "Conv"][place]
    return onnx.numpy_helper.to_array(next(w for w in proto.graph.initializer if w.name == node.input[1]))


def test_the_weights_of_neighbours_become_equal() -> None:
    torch.manual_seed(0)
    net = Plain()
    with torch.no_grad():
        net.second.weight[3] *= OUTLIER
    given = task(net)
    before = graph(given)
    after = equalized(before, "weights", [])
    said = [np.abs(convolution(p, 1)).max((1, 2, 3)) for p in (before, after)]
    heard = [np.abs(convolution(p, 2)).max((0, 2, 3)) for p in (before, after)]
    assert said[0].max() / heard[0].max() > 10
    np.testing.assert_allclose(said[1], heard[1], rtol=1e-4)


@pytest.mark.parametrize("by", ["weights", "activations"])
def test_int8_loses_less(by: str) -> None:
    """One channel is so much larger than the others that a common scale leaves them few steps."""
    torch.manual_seed(0)
    net = Plain()
    with torch.no_grad():
        net.first.weight[0] *= OUTLIER
        net.first.bias[0] *= OUTLIER
        net.second.weight[:4, 0] /= OUTLIER
    given = task(net)
    model, inputs = OnnxModel(graph(given)), given.split("test").inputs
    wanted = answers(model.proto, inputs)

    def lost(how: Quantize) -> float:
        return float(np.abs(answers(how(model, given).proto, inputs) - wanted).mean())

    plain = Quantize(method="placed", ranges="minmax")
    assert lost(Quantize(method="placed", ranges="minmax", equalize=by)) < 0.5 * lost(plain)
