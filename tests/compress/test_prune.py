"""prune: the right channels go, everywhere, or it says why not."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from trainable import accuracy, convolutions, quadrants

from hasten.compress.heal import Heal
from hasten.compress.prune import Prune
from hasten.engines.torch import call
from hasten.errors import NotApplicable, UsageError
from hasten.model import TorchModel
from hasten.task import Task


def widths(module: nn.Module) -> list[int]:
    return [m.out_channels for m in module.modules() if isinstance(m, nn.Conv2d)]


class Skips(nn.Module):
    """A skip around a depthwise convolution with batch norm, and two inputs' worth of channels side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.beside = nn.Conv2d(1, 16, 1)
        self.head = nn.Linear(32, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(image)))
        x = torch.cat([x + self.depthwise(x), self.beside(image)], 1)
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("importance", ["l1", "l2", "bn", "taylor"])
def test_what_gives_nothing_goes_and_nothing_changes(importance: str) -> None:
    """Half of the channels have no weights, no factor, and nobody who listens: they go from all layers together."""
    torch.manual_seed(0)
    net, silent = Skips().eval(), [0, 3, 4, 7, 9, 10, 12, 15]
    net.norm.running_mean.normal_()
    with torch.no_grad():
        for layer in (net.stem, net.norm, net.depthwise, net.beside):
            layer.weight[silent] = layer.bias[silent] = 0
        net.head.weight[:, silent + [16 + i for i in silent]] = 0
    task = quadrants(lambda: net)
    made = Prune(importance=importance).apply(task.original, task).module
    kept = [i for i in range(16) if i not in silent]
    assert made.depthwise.groups == made.norm.num_features == 8
    assert torch.equal(made.stem.weight, net.stem.weight[kept])
    if importance == "bn":
        assert torch.equal(made.beside.weight, net.beside.weight)  # it has no batch norm to tell
    else:
        assert torch.equal(made.beside.weight, net.beside.weight[kept])
    feed = next(task.split("test").batches(5))
    np.testing.assert_allclose(call(made, feed)["output"], call(net, feed)["output"], atol=1e-5)


def test_random_is_not_the_rest() -> None:
    task = quadrants(convolutions)
    made = [Prune(importance=i, seed=s).apply(task.original, task).digest() for i, s in
            (("random", 0), ("random", 0), ("random", 1), ("l2", 0))]  # fmt: skip
    assert made[0] == made[1]
    assert len(set(made)) == 3


@pytest.mark.parametrize(
    ("how", "left"),
    [
        (Prune(0.5), [8, 8]), (Prune(0.25), [8, 8]), (Prune(0.1), [16, 16]), (Prune(0.9), [8, 8]),
        (Prune(0.5, widths=(5, 12)), [5, 5]), (Prune(0.3, widths=(5, 12)), [12, 12]), (Prune(0.75, steps=2), [8, 8]),
        (Prune(0.5, steps=4), [8, 8]),
    ],
)  # fmt: skip
def test_only_allowed_widths_are_left(how: Prune, left: list[int]) -> None:
    task = quadrants(convolutions)
    if left == [16, 16]:
        with pytest.raises(NotApplicable, match=r"its 16 channels are nearest to 14\.4"):
            how.apply(task.original, task)
    else:
        assert widths(how.apply(task.original, task).module) == left


@pytest.mark.parametrize("scope", ["local", "global"])
def test_small_steps_come_as_far_as_one(scope: str) -> None:
    """What one step rounds away, the next makes up for; and what was cut at first is not told as untouched."""
    net = convolutions(32)
    task = quadrants(lambda: net)
    made = Prune(0.75, scope=scope, steps=5).apply(task.original, task)
    assert sum(widths(made.module)) == pytest.approx(16, abs=8)
    assert list(made.edits[0]["untouched"]) == ["6"]


def test_global_compares_over_the_network() -> None:
    """The second layer's channels are nearly silent, but for eight that are strong: those alone stay."""
    net = convolutions(32)
    with torch.no_grad():
        net[2].weight[8:] *= 0.01
        net[6].weight[:, 32:] *= 0.01
    task = quadrants(lambda: net)
    local, everywhere = (Prune(0.4, scope=s).apply(task.original, task).module for s in ("local", "global"))
    assert widths(local) == [16, 16]
    assert widths(everywhere) == [32, 8]


def test_two_steps_heal_between(monkeypatch: pytest.MonkeyPatch) -> None:
    net = convolutions(64)
    task = quadrants(lambda: net)
    seen = []
    train = Heal.train
    monkeypatch.setattr(
        Heal, "train", lambda self, model, *rest: (seen.append(widths(model.module)), train(self, model, *rest))[1]
    )
    made = Prune(0.75, steps=2, epochs=1).apply(task.original, task)
    assert seen == [[32, 32], [16, 16]]
    assert widths(made.module) == [16, 16]


def test_healing_brings_the_accuracy_back() -> None:
    fresh = quadrants(convolutions)
    trained = Heal(8, 1e-2, 32, 0.0).train(fresh.original, fresh).module
    task = quadrants(lambda: trained)
    cut = Prune(importance="random").apply(task.original, task)
    healed = Prune(importance="random", epochs=6, lr=1e-2).apply(task.original, task)
    assert accuracy(task, cut.module) < 0.9 < accuracy(task, healed.module)
    assert healed.params == cut.params < task.original.params


class Odd(nn.Module):
    """Everything whose channels cannot go."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(1, 16, 3, padding=1)
        self.groups = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.normed, self.norm = nn.Conv2d(16, 32, 1), nn.GroupNorm(1, 32)
        self.written = nn.Conv2d(32, 16, 1)
        self.rows = nn.GRU(8, 16, batch_first=True)
        self.free, self.head = nn.Linear(16, 24), nn.Linear(24, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.written(self.norm(self.normed(self.groups(self.grouped(image)))))
        x = x.reshape(-1, 16 * 8, 8).mean(1, keepdim=True)
        return self.head(torch.relu(self.free(self.rows(x)[0][:, -1])))


def test_what_cannot_go_is_left_and_said() -> None:
    torch.manual_seed(0)
    task = quadrants(Odd)
    made = Prune().apply(task.original, task)
    assert made.module.free.out_features == 8
    assert made.edits[0]["sizes"].keys() == {"free", "head"}
    said = made.edits[0]["untouched"]
    assert set(said) == {"grouped", "groups", "normed", "written", "rows", "head"}
    assert said["head"] == "its channels are outputs of the network"
    assert said["rows"] == "nobody can tell where the channels of this GRU go"
    assert said["grouped"] == "its channels are convolved in groups"
    assert said["normed"] == "a norm, attention or forward itself depends on all of its channels"


def test_nothing_to_cut_is_said() -> None:
    torch.manual_seed(0)
    task = quadrants(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    with pytest.raises(NotApplicable, match=re.escape("1: its channels are outputs of the network")):
        Prune().apply(task.original, task)


def test_the_original_is_as_it_was() -> None:
    task = quadrants(convolutions)
    before = task.original.digest()
    Prune(importance="taylor").apply(task.original, task)
    assert task.original.digest() == before
    assert not any(p.grad is not None for p in task.original.module.parameters())


@pytest.mark.parametrize(
    "wrong",
    [{"ratio": 0.0}, {"ratio": 1.0}, {"widths": (0, 8)}, {"steps": 0}, {"epochs": -1}, {"lr": 0.0}, {"seed": -1}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="cannot prune"):
        Prune(**wrong)


def test_two_outputs_of_which_one_is_inside(tmp_path: object) -> None:
    """Channels that are an answer stay, though later layers hear them too."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3), nn.Linear(16, 4)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            x = torch.relu(self.first(image))
            return {"logits": self.head(torch.relu(self.second(x)).mean((2, 3))), "features": x}

    torch.manual_seed(0)
    task: Task = quadrants(Two)
    made = Prune().apply(task.original, task)
    assert isinstance(made, TorchModel)
    assert widths(made.module) == [16, 8]
    assert made.edits[0]["untouched"].keys() == {"first", "head"}
