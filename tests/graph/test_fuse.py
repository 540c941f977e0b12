"""What became one layer, here and in the engine."""

import numpy as np
import torch
from torch import nn

from hasten.data import Data
from hasten.export import export
from hasten.graph.fuse import by_engine, here
from hasten.model import TorchModel


def layer(ms: float, *ops: str) -> dict[str, object]:
    return {"ops": list(ops), "ms": ms}


def test_layers_of_several_nodes_are_counted_by_what_they_are_made_of() -> None:
    found = by_engine(
        [
            layer(1.0, "Conv", "Relu"),
            layer(2.0, "DequantizeLinear", "Conv", "Relu", "QuantizeLinear"),
            layer(4.0, "Conv", "Add", "Relu"),
            layer(9.0, "Conv"),
            layer(9.0, "DequantizeLinear", "MatMul"),
            layer(9.0),
        ]
    )
    assert found == [
        {"ops": ["Conv", "Add", "Relu"], "layers": 1, "ms": 4.0},
        {"ops": ["Conv", "Relu"], "layers": 2, "ms": 3.0},
    ]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.act, self.spare = nn.ReLU(), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.drop(self.norm(self.conv(x))))


def test_what_left_no_node_is_named_and_what_was_never_called_is_not() -> None:
    samples = Data({"x": np.random.default_rng(0).normal(size=(8, 1, 6, 6)).astype(np.float32)})
    feed = next(samples.batches(2))
    model = TorchModel.of(Net(), feed)
    made = export(model, samples).model
    assert here(model, feed, made) == ["norm (BatchNorm2d)", "drop (Dropout)"]
    assert not any(m._forward_hooks for m in model.module.modules())
