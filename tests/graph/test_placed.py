"""placed: every layer that is meant for INT8 runs in INT8, on the engine the file was made for."""

from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tiny import tiny_data
from torch import nn

from hasten.errors import NotApplicable
from hasten.export import export
from hasten.find import engine
from hasten.graph.quantize import Quantize
from hasten.model import OnnxModel
from hasten.task import Task


class Residual(nn.Module):
    """Skips, depthwise and strided convolutions, ReLU6, two kinds of pooling, a joint of two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.wide, self.deep = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.narrow = nn.Conv2d(32, 16, 1)
        self.left, self.right = nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(16, 8, 1)
        self.middle, self.head = nn.Linear(16 * 4, 24), nn.Linear(24, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(image)))
        y = nn.functional.relu6(self.deep(nn.functional.relu6(self.wide(x))))
        x = nn.functional.max_pool2d(torch.relu(x + self.narrow(y)), 2)
        x = torch.cat([torch.relu(self.left(x)), torch.relu(self.right(x))], 1)
        x = nn.functional.avg_pool2d(x, 2).flatten(1)
        return self.head(torch.relu(self.middle(x)))


class Attention(nn.Module):
    """Products of activations, and of activations with weights of three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.query, self.key, self.value = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.first(image[:, 0])
        y = self.norm(x)
        scores = torch.softmax(self.query(y) @ self.key(y).transpose(1, 2) / 32**0.5, -1)
        return self.head((x + scores @ self.value(y)).mean(1))


@cache
def made(kind: type[nn.Module]) -> tuple[Task, OnnxModel]:
    torch.manual_seed(0)
    net = kind().eval()
    data = tiny_data(64, 2)
    task = Task("net", lambda: net, "agreement", calibrate=data, validate=tiny_data(64, 3))
    return task, export(task.original, task.sample()).model


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", [Residual, Attention])
def test_every_layer_runs_in_int8_and_answers_as_before(kind: type[nn.Module], name: str) -> None:
    task, before = made(kind)
    after = Quantize(method="placed", engine=name)(before, task)
    feed = next(task.split("validate").batches(64))
    with engine(name)(threads=1).compile(after) as int8, engine(name)(threads=1).compile(before) as plain:
        assert int8.int8_share() == 1.0
        right = plain(feed)["output"]
        assert np.abs(int8(feed)["output"] - right).max() < 0.06 * np.abs(right).max()


def test_it_is_close_where_libraries_are_not_closer() -> None:
    """On these networks the error is not above that of the better library."""
    for kind in (Residual, Attention):
        task, before = made(kind)
        feed = next(task.split("validate").batches(64))
        with engine("onnxruntime")(threads=1).compile(before) as plain:
            right = plain(feed)["output"]
        errors = {}
        for step in (Quantize(method="placed"), Quantize(ranges="minmax"), Quantize(method="onnxruntime")):
            with engine("onnxruntime")(threads=1).compile(step(before, task)) as int8:
                errors[step.method] = float(np.square(int8(feed)["output"] - right).mean())
        assert errors["placed"] <= 1.5 * min(errors.values())


def test_a_corrected_bias_brings_the_mean_back() -> None:
    """Weights that all round the same way, fed with positive values, shift the output; the correction takes it back."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 8, 1)
    with torch.no_grad():
        conv.weight[:] = 1.0
        conv.bias[:] = 0.0
    tail = nn.Conv2d(8, 8, 3, padding=1)
    with torch.no_grad():
        tail.weight[:] = 0.3 / 127 * 1.49
        tail.weight[:, 0, 0, 0] = 0.3
    net = nn.Sequential(conv, nn.ReLU(), tail, nn.ReLU(), nn.Flatten(), nn.Linear(512, 4)).eval()
    task = Task("net", lambda: net, "agreement", calibrate=tiny_data(64, 2), validate=tiny_data(64, 3))
    before = export(task.original, task.sample()).model
    feed = next(task.split("calibrate").batches(64))
    off = []
    for correct in (True, False):
        after = Quantize(method="placed", ranges="minmax", bias_correction=correct)(before, task)
        with engine("onnxruntime")(threads=1).compile(after) as int8, engine("onnxruntime")().compile(before) as plain:
            off.append(float(np.abs((int8(feed)["output"] - plain(feed)["output"]).mean(0)).max()))
    assert off[0] < 0.5 * off[1]


def test_what_hurts_most_is_spared() -> None:
    """One layer whose weights 8 bits cannot hold: it stays in floats, the others do not."""
    torch.manual_seed(0)
    hard = nn.Conv2d(8, 8, 3, padding=1)
    with torch.no_grad():
        hard.weight[:, 0] *= 4000.0
        hard.weight[:, 0, 1:] = 0.0
    first = nn.Conv2d(1, 8, 3, padding=1)
    with torch.no_grad():
        first.weight[0] = first.bias[0] = 0.0  # the channel of the large weights is silent
    net = nn.Sequential(
        first, nn.ReLU(), hard, nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)
    )
    task = Task("net", net.eval, "agreement", calibrate=tiny_data(64, 2), validate=tiny_data(64, 3))
    before = export(task.original, task.sample()).model
    after = Quantize(method="placed", spare=0.25)(before, task)
    by = {t: n.op_type for n in after.proto.graph.node for t in n.output}
    convs = [n for n in after.proto.graph.node if n.op_type == "Conv"]
    assert [by.get(n.input[1]) for n in convs] == ["DequantizeLinear", None, "DequantizeLinear"]


def test_a_convolution_that_answers_stays_in_floats() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    task = Task("net", lambda: net, "cosine", calibrate=tiny_data(64, 2), validate=tiny_data(64, 3))
    after = Quantize(method="placed")(export(task.original, task.sample()).model, task)
    kinds = {w.name: w.data_type for w in after.proto.graph.initializer if len(w.dims) == 4}
    assert sorted(kinds.values()) == [onnx.TensorProto.FLOAT, onnx.TensorProto.INT8]
    assert after.proto.graph.output[0].name == "output"


def test_scales_are_those_of_the_ranges() -> None:
    """With minmax the steps of Q come from the extremes, and those of weights are a 127th of each channel's largest."""
    task, before = made(Residual)
    after = Quantize(method="placed", ranges="minmax")(before, task).proto.graph
    values = {w.name: numpy_helper.to_array(w) for w in after.initializer}
    image = task.split("calibrate").inputs["image"]
    assert values["image.int8.scale"] == pytest.approx((image.max() - image.min()) / 255, rel=1e-5)
    assert values["image.int8.zero"] == round(-image.min() / ((image.max() - image.min()) / 255))
    stored = [v for name, v in values.items() if name.endswith(".weight.int8.q")]
    assert stored
    for weight in stored:
        axis = 0
        rows = np.abs(np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(int))
        assert (rows.max(1) == 127).all()


def test_nothing_to_place_is_said() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()).eval()
    task = Task("net", lambda: net, "cosine", calibrate=tiny_data(64, 2), validate=tiny_data(64, 3))
    with pytest.raises(NotApplicable, match="nothing to do: no convolution or product"):
        Quantize(method="placed")(export(task.original, task.sample()).model, task)


class PostNorm(nn.Module):
    """A sum of what a norm gives, which a layer reads as well, and of what is in floats."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix, self.head = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.norm(image[:, 0])
        return self.head((x + torch.tanh(self.mix(x))).mean(1))


def test_what_runs_in_floats_reads_floats() -> None:
    task, before = made(PostNorm)
    after = Quantize(method="placed")(before, task).proto.graph
    by = {t: n.op_type for n in after.node for t in n.output}
    sums = [n for n in after.node if n.op_type == "Add" and all(i in by for i in n.input)]
    assert sums
    assert all(by[i] != "DequantizeLinear" for n in sums for i in n.input if by[i] != "Tanh")
