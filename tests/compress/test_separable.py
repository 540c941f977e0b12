"""separable: each form is as near as it can be at first, and learns from the layer that it stands for."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trainable import accuracy, convolutions, quadrants

from hasten.compress import _low_rank
from hasten.compress.heal import Heal
from hasten.compress.separable import Separable
from hasten.engines.torch import call
from hasten.errors import NotApplicable, UsageError
from hasten.task import Task


@pytest.mark.parametrize(
    ("step", "kernels", "groups"),
    [
        (Separable(), [(3, 3), (1, 1)], [16, 1]),
        (Separable("cross", width=0.5), [(3, 1), (1, 3)], [1, 1]),
        (Separable("bottleneck", width=0.5), [(1, 1), (3, 3), (1, 1)], [1, 1, 1]),
    ],
)
def test_a_form_has_its_parts(step: Separable, kernels: list[tuple[int, int]], groups: list[int]) -> None:
    task = quadrants(convolutions)
    made = step(task.original, task).module[2]
    assert [part.kernel_size for part in made] == kernels
    assert [part.groups for part in made] == groups
    assert [part.bias is not None for part in made] == [False] * (len(made) - 1) + [True]


def test_each_channel_is_as_near_as_its_kernels_allow() -> None:
    """Exact with as many kernels as a channel has directions; and every further one is nearer."""
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 12, 3, stride=2, padding=1)
    x = torch.randn(2, 6, 9, 9)
    with torch.no_grad():
        wanted = layer(x)
        off = [(_low_rank.filled(layer, _low_rank.Depthwise(), n)(x) - wanted).norm().item() for n in (1, 3, 6, 9)]
    assert off == sorted(off, reverse=True)
    assert off[0] < wanted.norm().item()
    assert off[-1] < 1e-4


def trained() -> Task:
    """A network that has learnt its task."""
    task = quadrants(lambda: convolutions(width=32))
    made = Heal(6, teacher=0, lr=5e-3, precision="f32")(task.original, task)
    return quadrants(lambda: made.module)


def test_parts_learn_from_their_layer_and_nothing_else_moves() -> None:
    task = trained()
    net, feed = task.original.module, next(task.split("test").batches(64))
    step = Separable("bottleneck", width=0.25, lr=2e-2)
    start, taught = (Separable(**vars(step) | {"blocks": n})(task.original, task).module for n in (0, 12))
    with torch.no_grad():
        heard = net[:2](torch.from_numpy(feed["image"]))
        wanted = net[2](heard)
        before, after = ((made[2](heard) - wanted).square().mean().item() for made in (start, taught))
    assert after < 0.7 * before
    for name, value in net.state_dict().items():
        if not name.startswith("2."):
            assert torch.equal(value, taught.state_dict()[name]), name
    assert all(p.requires_grad for p in taught.parameters())  # and can heal


def test_it_heals() -> None:
    task = trained()
    alone, healed = (Separable(epochs=e, lr=5e-3)(task.original, task) for e in (0, 6))
    assert accuracy(task, healed.module) > accuracy(task, alone.module) + 0.2


def test_what_has_no_kernel_or_gains_nothing_is_left() -> None:
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
    net = nn.Sequential(first, second, nn.Conv2d(16, 8, 1), nn.Flatten(), nn.Linear(512, 4))
    task = quadrants(lambda: net)
    made = Separable("cross")(task.original, task)
    assert list(made.edits[0]["layers"]) == ["1"]
    said = made.edits[0]["untouched"]
    assert "as many multiply-adds" in said.pop("0")
    assert said == dict.fromkeys(["2", "4"], "it has no kernel to take apart")


def test_there_may_be_nothing_to_do() -> None:
    task = quadrants(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    with pytest.raises(NotApplicable, match="nothing to do: 1: it has no kernel to take apart"):
        Separable()(task.original, task)


def test_clips_and_signals_are_separated_too() -> None:
    for conv, shape in ((nn.Conv1d(8, 8, 5, padding=2), (2, 8, 9)), (nn.Conv3d(8, 8, 3, padding=1), (2, 8, 4, 5, 5))):
        net = nn.Sequential(conv, nn.Flatten(), nn.Linear(int(np.prod(shape[1:])), 4))
        chain = _low_rank.filled(conv, _low_rank.Depthwise(), 1)
        assert chain(torch.zeros(shape)).shape == net[0](torch.zeros(shape)).shape
        assert np.isfinite(call(chain, {"x": np.ones(shape, np.float32)})["output"]).all()


@pytest.mark.parametrize("settings", [{"width": 0}, {"width": 1.5}, {"blocks": -1}, {"lr": 0.0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot separate"):
        Separable(**settings)
