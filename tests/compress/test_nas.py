"""nas: what is slow is never trained, the better half goes on, and a search that was killed goes on too."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CLASSES
from torch import nn
from trainable import accuracy, quadrants

from hasten import checkpoint, files
from hasten.compress import _timed
from hasten.compress._halving import Learnt, Search
from hasten.compress._space import inherited, network, points
from hasten.compress.nas import Nas
from hasten.errors import InputError, MissingError, NotApplicable, UsageError
from hasten.measure.latency import Speedup
from hasten.model import TorchModel
from hasten.recipe import Recipe
from hasten.task import Task


def shaped(width: int = 32, kernel: int = 3) -> nn.Sequential:
    """Two convolutions, pooled to 2x2."""
    return nn.Sequential(
        nn.Conv2d(1, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, kernel, padding=kernel // 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, CLASSES),
    )  # fmt: skip


@pytest.fixture(scope="module")
def task() -> Task:
    torch.manual_seed(0)
    net = shaped(64)
    return quadrants(lambda: net, builder=shaped, space={"width": (4, 8, 64), "kernel": (1, 3)})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Networks are as much faster as they are narrower; the widths that were timed."""
    seen: list[int] = []

    class Narrower:
        def __init__(self, original: TorchModel, *how: Any) -> None:
            self.width = original.module[0].out_channels

        def speedup(self, model: TorchModel) -> Speedup:
            seen.append(model.module[0].out_channels)
            return Speedup(*(self.width / seen[-1],) * 3)

        def close(self) -> None:
            pass

    monkeypatch.setattr(_timed, "Yardstick", Narrower)
    return seen


STEP = Nas(4.0, candidates=4, samples=128, epochs=6, lr=1e-2, batch=32)


def test_it_finds_a_network_that_is_fast_and_has_learnt(task: Task, tmp_path: Path) -> None:
    """On a real engine. What is found is written into a checkpoint and read again."""
    made = replace(STEP, speedup=1.5, candidates=2)(task.original, task)
    edit = made.edits[0]
    assert made.signature == task.original.signature
    assert accuracy(task, made.module) > 0.9
    found = next(e for e in edit["timed"] if e["point"] == edit["point"])
    assert found["low"] <= found["speedup"] <= found["high"]
    assert found["speedup"] >= 1.5
    assert [e["rung"] for e in edit["trained"]] == [0, 0]
    again = checkpoint.load(checkpoint.save(made, tmp_path / "c"), task)
    assert again.digest() == made.digest()
    assert Recipe.parse(made.history[0]).steps[0].speedup == 1.5
    assert not list((files.cache_folder() / "nas").iterdir())
    other = replace(task, space={"width": (1, 2), "kernel": (1, 3)})
    with pytest.raises(InputError, match=r"is no point of the task's space"):
        checkpoint.load(tmp_path / "c", other)


def test_what_is_slow_is_not_trained(task: Task, clock: list[int]) -> None:
    edit = STEP(task.original, task).edits[0]
    assert sorted(clock) == [4, 4, 8, 8, 64, 64]
    assert {e["point"]["width"] for e in edit["trained"]} == {4, 8}
    with pytest.raises(NotApplicable, match="none is 40 times as fast as the original, the fastest 16 times"):
        Nas(40.0)(task.original, task)


def test_what_cannot_be_built_is_left_out(task: Task, clock: list[int]) -> None:
    def fussy(width: int, kernel: int) -> nn.Module:
        if width == 4:
            raise ValueError("too narrow")
        return shaped(width, kernel) if kernel == 3 else nn.Sequential(nn.Flatten(), nn.Linear(64, 5))

    edit = STEP(task.original, replace(task, builder=fussy)).edits[0]
    assert edit["point"] == {"width": 8, "kernel": 3}
    reasons = [e["reason"] for e in edit["timed"] if e["speedup"] is None]
    assert sum("ValueError: too narrow" in r for r in reasons) == 2
    assert sum("the original is" in r for r in reasons) == 2
    with pytest.raises(NotApplicable, match="too narrow"):
        STEP(task.original, replace(task, builder=fussy, space={"width": (4,), "kernel": (3,)}))


class Killed(BaseException):
    pass


def test_the_better_half_goes_on_and_a_killed_search_too(tmp_path: Path) -> None:
    """Seven candidates, killed after each step: nobody learns twice, and all ends as without a kill."""
    every = [{"width": n} for n in range(1, 8)]
    learnt: list[tuple[int, int]] = []
    left = 0

    def start(point: dict[str, Any]) -> nn.Module:
        return nn.Linear(1, point["width"])

    def learn(module: nn.Module, epochs: int) -> Learnt:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        learnt.append((module.out_features, epochs))
        with torch.no_grad():
            module.bias.add_(epochs)
        return Learnt(module, float(-abs(module.out_features - 3)))

    for round_ in itertools.count():
        left = 1
        try:
            point, module = Search(tmp_path, 10.0).survivor(every, start, learn)
            break
        except Killed:
            assert round_ < 20
    assert point == {"width": 3}
    assert learnt == [(n, 1) for n in range(1, 8)] + [(3, 2), (2, 2), (4, 2), (1, 2)] + [(3, 4), (2, 4)]
    assert (module.bias - start(point).bias).abs().max() < 10
    again, same = Search(tmp_path, 10.0).survivor(every, start, learn)
    assert again == point
    assert torch.equal(same.bias, module.bias)


def test_a_search_ends_when_its_time_is_over(tmp_path: Path) -> None:
    """Somebody learns always; who had no turn on a rung does not stop those that had."""
    search = Search(tmp_path, 1.0)
    found = search.time([{"n": n} for n in range(9)], lambda p: (p["n"], 0, 9), 2, 3, 0.5)
    assert found == [{"n": 2}, {"n": 3}, {"n": 4}]
    learnt: list[int] = []

    def learn(module: nn.Module, epochs: int) -> Learnt:
        learnt.append(epochs)
        return Learnt(module, 0.5)

    search.timed[0]["seconds"] = 61.0
    point, _ = search.survivor([{"n": n} for n in (2, 3, 4)], lambda point: nn.Linear(1, 1), learn)
    assert (point, learnt) == ({"n": 2}, [1])
    fresh = Search(tmp_path / "other", 1.0)
    fresh.timed.append({"point": {"n": 1}, "speedup": 1.0, "seconds": 40.0})
    assert fresh.time([{"n": n} for n in range(9)], lambda p: (9, 9, 9), 1, 5, 0.5) == [{"n": 1}]


def test_weights_are_taken_over_as_far_as_both_reach(task: Task) -> None:
    original = task.original.module
    small = network(task, {"width": 4, "kernel": 1})
    took = inherited(small, original).module
    assert torch.equal(took[3].weight, original[3].weight[:4, :4, 1:2, 1:2])
    assert torch.equal(took[1].running_mean, original[1].running_mean[:4])
    assert torch.equal(took[7].weight, original[7].weight[:, :16])
    assert not torch.equal(small.module[3].weight, took[3].weight), "the network that came in is as it was"
    large = inherited(TorchModel.of(shaped(96, 5), task.sample().inputs), original).module
    assert torch.equal(large[3].weight[:64, :64, 1:4, 1:4], original[3].weight)
    ring = large[3].weight[:64, :64].clone()
    ring[..., 1:4, 1:4] = 0
    assert not ring.any()
    assert large[3].weight[64:].any()


def test_points_are_drawn_once(task: Task) -> None:
    every = points(task, 0)
    assert len(every) == 6
    assert every == points(task, 0) != points(task, 1)
    with pytest.raises(NotApplicable, match="has no space"):
        Nas()(task.original, replace(task, builder=None, space={}))


def test_an_engine_has_to_run_onnx(task: Task) -> None:
    with pytest.raises(UsageError, match="did you mean 'onnxruntime'"):
        _timed.Yardstick(task.original, task.sample(), "onxruntime", 1)
    with pytest.raises(UsageError, match="runs no ONNX file"):
        _timed.Yardstick(task.original, task.sample(), "torch", 1)


def test_an_engine_has_to_be_here(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in _timed.find.engines().values():
        monkeypatch.setattr(kind, "missing", classmethod(lambda cls: "gone"))
    for name in ("onnxruntime", ""):
        with pytest.raises(MissingError):
            _timed.Yardstick(task.original, task.sample(), name, 1)


@pytest.mark.parametrize(
    "settings", [{"speedup": 0.0}, {"minutes": 0.0}, {"candidates": 0}, {"samples": 0}, {"threads": -1}, {"epochs": 0}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot"):
        Nas(**settings)
