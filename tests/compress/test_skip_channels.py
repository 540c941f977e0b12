"""skip_channels: gates are chosen for each input, and what they would save is told."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trainable import accuracy, convolutions, quadrants

from hasten.compress._gates import Gated, gated, silent
from hasten.compress._places import places, sample
from hasten.compress.heal import Heal
from hasten.compress.skip_channels import SkipChannels
from hasten.engine import available
from hasten.engines.torch import call
from hasten.errors import NotApplicable, UsageError
from hasten.model import OnnxModel, TorchModel


def test_the_least_salient_are_silent_for_each_input() -> None:
    torch.manual_seed(0)
    one = Gated(nn.Conv2d(3, 8, 3), 0.75)
    with torch.no_grad():
        one.saliency.weight.copy_(torch.eye(3).repeat(3, 1)[:8] * torch.linspace(1, 1.1, 8)[:, None])
    x = torch.randn(16, 3, 6, 6) * torch.rand(16, 3, 1, 1) * 4
    gates, plain, made = one.gates(x), one.layer(x), one(x)
    assert ((gates > 0).sum(1) <= 2).all()
    assert len({tuple(g.nonzero().flatten().tolist()) for g in gates}) > 1
    wanted = torch.relu(one.saliency(x.abs().mean((2, 3))))
    for i in range(16):
        kept = wanted[i].argsort(descending=True)[:2]
        torch.testing.assert_close(gates[i, kept], wanted[i, kept])
    torch.testing.assert_close(made, plain * gates[:, :, None, None])


def test_what_is_silent_is_counted() -> None:
    task = quadrants(lambda: convolutions().eval())
    original = task.original
    assert isinstance(original, TorchModel)
    found = [p for p in places(original, task)[0] if isinstance(p.layer, nn.Conv2d)]
    feed = sample(original, task)
    assert silent(gated(original.module, found, 0.5), found, [feed], sum(p.macs for p in found)) == pytest.approx(0.5)
    assert silent(gated(original.module, found[:1], 0.5), found[:1], [feed], found[0].macs * 4) == pytest.approx(0.125)


def test_it_learns_with_gates_and_tells_what_it_could_save() -> None:
    plain = quadrants(lambda: convolutions().eval())
    net = Heal(6, lr=5e-3, batch=32, precision="f32")(plain.original, plain).module
    task = quadrants(lambda: net)
    made = SkipChannels(0.5, epochs=40, lr=5e-3)(task.original, task)
    assert isinstance(made, OnnxModel)
    data = task.split("test")
    with available("onnx")[0].compile(made) as session:
        found = session(data.inputs)["output"]
    assert (found.argmax(1) == data.target).mean() > accuracy(task, net) - 0.05
    assert {n.op_type for n in made.proto.graph.node} >= {"TopK", "Mul", "Conv"}
    (said,) = made.said
    assert 45 <= int(said.partition("%")[0]) <= 60
    assert said.endswith("it does not pay")
    assert {w.name for w in made.proto.graph.initializer} >= {"0.weight", "2.weight", "6.weight"}


def test_why_not() -> None:
    task = quadrants(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval())
    with pytest.raises(NotApplicable, match="1: it is no convolution"):
        SkipChannels()(task.original, task)
    few = quadrants(lambda: nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten()).eval())
    with pytest.raises(NotApplicable, match="it has 4 channels"):
        SkipChannels()(few.original, few)


@pytest.mark.parametrize("settings", [{"ratio": 0.0}, {"ratio": 1.0}, {"epochs": 0}, {"lr": 0.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        SkipChannels(**settings)


def test_gates_of_an_untouched_network_change_nothing_but_what_is_silent() -> None:
    """Before training all gates are near one, and hardly any is silent."""
    net = convolutions().eval()
    task = quadrants(lambda: net)
    original = task.original
    assert isinstance(original, TorchModel)
    found = [p for p in places(original, task)[0] if isinstance(p.layer, nn.Conv2d)]
    data = task.split("test").take(slice(0, 32))
    torch.manual_seed(0)
    before, after = (call(m, data.inputs)["output"] for m in (net, gated(net, found, 0.01)))
    assert np.abs(before - after).max() < 0.3 * np.abs(before).max()
