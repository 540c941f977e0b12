"""quantize_aware: what is trained rounds as the file does, and the file keeps what was learnt."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from trainable import accuracy, convolutions, quadrants

from hasten.compress._rounding import Rounding
from hasten.compress.quantize_aware import QuantizeAware
from hasten.engine import Engine
from hasten.engines.onnxruntime import OnnxRuntime
from hasten.engines.openvino import OpenVino
from hasten.engines.torch import call
from hasten.errors import NotApplicable, UsageError
from hasten.export import export
from hasten.graph.quantize import Quantize
from hasten.model import Arrays, OnnxModel
from hasten.recipe import Recipe
from hasten.task import Task

LARGE = 400.0
STILL = {"epochs": 1, "lr": 1e-12, "teacher": 0.0}  # trains, and changes nothing


class Sums(nn.Module):
    """Two sums: one of a convolution and the image, one of what two linear layers gave; a norm, a product, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.body = nn.Conv2d(8, 8, 3, padding=1)
        self.left, self.right = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(image)))
        x = torch.relu(self.body(x) + x)
        y = x.mean((2, 3))
        return self.left(y) + self.right(y)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """Sums, so trained that it tells the quadrants apart a little, with a norm that has seen data."""
    torch.manual_seed(0)
    net, task = Sums(), quadrants(convolutions)
    net.norm.momentum = 1.0
    net.train()(torch.from_numpy(task.split("train").inputs["image"]))
    return net.eval()


@pytest.fixture(scope="module")
def task(trained: nn.Module) -> Task:
    return quadrants(lambda: copy.deepcopy(trained))


def answers(engine: Engine, model: OnnxModel, inputs: Arrays) -> np.ndarray:
    with engine.compile(model) as session:
        assert session.int8_share() == 1.0
        return next(iter(session(inputs).values()))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("ranges", ["mse", "minmax"])
def test_the_file_answers_as_the_network_that_was_trained(engine: str, ranges: str, task: Task) -> None:
    """Rounding is small beside what INT8 changes: four values in five that the engine rounds, training rounds too."""
    how = QuantizeAware(engine=engine, ranges=ranges, **STILL)
    inputs = task.split("test").inputs
    rounds = call(how._calibrated(task.original, task), inputs)["output"]
    floats = call(task.original.module, inputs)["output"]
    file = answers(
        {"onnxruntime": OnnxRuntime, "openvino": OpenVino}[engine](threads=1), how(task.original, task), inputs
    )
    assert np.abs(rounds - file).mean() < 0.4 * np.abs(rounds - floats).mean()


def test_values_are_rounded_where_8_bits_end(trained: nn.Module, task: Task) -> None:
    """Before each layer, and on both sides of the sum of 8 bits; the other sum stays in floats."""
    rounding = Rounding(trained).eval()
    image = torch.from_numpy(task.split("calibrate").inputs["image"])
    assert rounding.calibrate(lambda: iter([[image]]), "minmax") == len(("stem", "body", "+", "+", "left", "right"))
    given: list[torch.Tensor] = []
    for layer in (trained.body, trained.left):
        layer.register_forward_pre_hook(lambda layer, args: given.append(args[0]))
    rounding(image)
    assert rounding.steps[2:4].tolist() != rounding.steps[:2].tolist()
    assert [len(torch.unique(g)) > 256 for g in given] == [True, True]  # hooks see what comes, before it is rounded


class Trains(nn.Module):
    """In training, values are dropped and a head is added; in between, a sum is written into what it is taken of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)
        self.aside = nn.Linear(8, 4)
        self.turn = nn.Parameter(torch.eye(8) + 0.1)
        self.seen: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(image))
        if self.training:
            self.aside(x.mean((2, 3)))
        y = nn.functional.dropout(self.body(input=x), 0.5, self.training)
        y.add_(x)
        return self.head(y.mean((2, 3)) @ self.turn)


def test_what_only_training_does_moves_no_range() -> None:
    """Each site has the range that calibration gave it, though training walks another way."""
    torch.manual_seed(0)
    task = quadrants(Trains)
    rounding = QuantizeAware()._calibrated(task.original, task)
    assert list(rounding.sites) == ["stem:0", "body:0", ":0", ":1", ":2", "head:0"]
    image = torch.from_numpy(task.split("train").inputs["image"])
    used: dict[str, float] = {}
    rounded = rounding._rounded

    def watched(value: torch.Tensor, site: str) -> torch.Tensor:
        used[site] = float(value.detach().abs().max() / (255 * rounding.steps[rounding.sites[site]]))
        return rounded(value, site)

    rounding._rounded = watched  # type: ignore[method-assign]
    rounding.train()(image)
    assert set(used) == set(rounding.sites)
    assert all(0.3 < share < 4 for share in used.values()), used


def test_a_sum_into_its_first_operand_is_in_it() -> None:
    class Into(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(1, 1, 1)

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x, y = self.body(image), self.body(image)
            z = x.add_(y)
            return x, z

    rounding, image = Rounding(Into()).eval(), torch.randn(4, 1, 8, 8)
    rounding.calibrate(lambda: iter([[image]]), "minmax")
    x, z = rounding(image)
    assert x is z
    assert torch.allclose(x, 2 * rounding.net.body(image), atol=0.1)


def test_a_product_with_a_parameter_has_a_scale_for_each_column() -> None:
    task = quadrants(Trains)
    with torch.no_grad():
        task.original.module.turn[:, 0] *= 100
    rounding = QuantizeAware(ranges="minmax")._calibrated(task.original, task)
    given: list[torch.Tensor] = []
    stored = rounding._stored
    rounding._stored = lambda weight, site: given.append(stored(weight, site)) or given[-1]  # type: ignore[method-assign]
    rounding(torch.from_numpy(task.split("test").inputs["image"]))
    (turn,) = (w for w in given if w.shape == (8, 8))
    assert torch.allclose(turn.t(), rounding.net.turn, rtol=0.05)


def test_norms_keep_their_statistics(task: Task) -> None:
    rounding = QuantizeAware()._calibrated(task.original, task)
    before = rounding.net.norm.running_var.clone()
    rounding.train()(torch.from_numpy(task.split("train").inputs["image"]))
    assert torch.equal(rounding.net.norm.running_var, before)
    assert rounding.training
    assert rounding.net.body.training


def test_gradients_reach_every_weight(task: Task) -> None:
    rounding = QuantizeAware()._calibrated(task.original, task).train()
    rounding(torch.from_numpy(task.split("train").inputs["image"])).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in rounding.net.parameters())


def test_it_learns_what_int8_alone_loses() -> None:
    """A weight that meets zeros alone is so large that 8 bits have few steps left for the others of its row."""
    torch.manual_seed(0)
    how = QuantizeAware(epochs=4, lr=1e-2, batch=32, teacher=0.0, ranges="minmax")
    start = quadrants(convolutions)
    good = how._how().train(start.original, start).module
    with torch.no_grad():
        good[0].weight[0], good[0].bias[0] = 0, -1
        good[2].weight[:, 0, 0, 0] = LARGE * good[2].weight.abs().amax()
    task = quadrants(lambda: copy.deepcopy(good))
    before = accuracy(task, task.original.module)
    test = task.split("test")

    def right(model: OnnxModel) -> float:
        return float((answers(OnnxRuntime(threads=1), model, test.inputs).argmax(1) == test.target).mean())

    lost = Quantize(method="placed", ranges="minmax")(export(task.original, task.sample()).model, task)
    kept = how(task.original, task)
    assert right(kept) > max(0.9 * before, right(lost) + 0.1)


def test_its_history_is_one_line_behind_those_before(task: Task) -> None:
    made = Recipe.parse("heal(epochs=1, batch=64) > quantize_aware(epochs=1, batch=64)")(task.original, task)
    assert made.history == ("heal(epochs=1, batch=64)", "quantize_aware(epochs=1, batch=64)")


def test_nothing_to_round_is_said() -> None:
    task = quadrants(lambda: nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()))
    with pytest.raises(NotApplicable, match="no convolution, linear layer or product"):
        QuantizeAware()(task.original, task)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("quantize_aware(samples=0)", "samples is at least 1"),
        ("quantize_aware(epochs=0)", "epochs, batch and patience are at least 1"),
        ("quantize_aware > prune", "prune works on the torch model, but stands after quantize_aware, which leaves"),
    ],
)
def test_a_mistake_is_one_sentence(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Recipe.parse(line)


def test_int8_is_not_made_twice(task: Task) -> None:
    made = QuantizeAware(**STILL)(task.original, task)
    with pytest.raises(NotApplicable, match="the graph holds INT8 already"):
        Quantize()(made, task)
