"""adapt: what a target lacks becomes what it has; what stays is said, and what it learns again is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CLASSES
from torch import nn
from torch.nn import functional as F  # noqa: N812
from trainable import accuracy, quadrants

from hasten import checkpoint
from hasten.compress import _adapting, _forms
from hasten.compress.adapt import KINDS, Adapt
from hasten.engines.torch import call
from hasten.errors import InputError, NotApplicable, UsageError
from hasten.export import export
from hasten.task import Task


class Odd(nn.Module):
    """[N, 1, 8, 8] -> [N, 4], with what a DLA lacks, as layers and as calls."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm, self.act = nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU()
        self.body, self.norm2 = nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(1, 16)
        self.pool, self.head = nn.AdaptiveAvgPool2d(2), nn.Linear(80, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.stem(image)))
        x = F.silu(self.norm2(self.body(x)))
        return self.head(torch.cat([self.pool(x).flatten(1), x.mean((2, 3))], 1))


def ops(task: Task, made: Any) -> set[str]:
    return {node.op_type for node in export(made, task.sample()).model.proto.graph.node}


@pytest.fixture(scope="module")
def trained() -> Task:
    """The quadrants, learnt by the odd network."""
    from dataclasses import replace

    from hasten.compress.heal import Heal

    fresh = quadrants(Odd)
    net = Heal(6, 5e-3, teacher=0.0)(fresh.original, fresh).module
    return replace(fresh, model=lambda: net)


def test_layers_and_calls_become_what_the_target_has(trained: Task) -> None:
    made = Adapt("dla")(trained.original, trained)
    edit = made.edits[0]
    assert set(edit["layers"]) == {"norm", "act", "norm2", "pool"}
    assert sorted(key.split()[0] for key in edit["calls"]) == ["mean", "silu"]
    assert {"Sigmoid", "ReduceMean"} <= ops(trained, trained.original)
    left = ops(trained, made)
    assert not left & {"Sigmoid", "ReduceMean", "InstanceNormalization", "GroupNormalization", "GlobalAveragePool"}
    assert {"Clip", "AveragePool"} <= left


def test_norms_keep_mean_and_spread_of_each_channel(trained: Task) -> None:
    """Of the first norm, on the data that it was calibrated with."""
    made = Adapt("dla", keep=("silu", "mean", "adaptive_pool"))(trained.original, trained)
    feed = {"image": trained.split("calibrate").inputs["image"]}
    seen: dict[str, torch.Tensor] = {}
    for name, net in (("before", trained.original.module), ("after", made.module)):
        handle = net.norm.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o}))
        call(net, feed)
        handle.remove()
    for statistic in (lambda x: x.mean((0, 2, 3)), lambda x: x.std((0, 2, 3))):
        torch.testing.assert_close(statistic(seen["after"]), statistic(seen["before"]), rtol=1e-2, atol=1e-2)
    assert made.edits[0]["untouched"]["act"] == "silu is to be kept"


def test_it_heals_and_is_kept(trained: Task, tmp_path: Path) -> None:
    whole = accuracy(trained, trained.original.module)
    assert whole > 0.9
    healed = Adapt("dla", epochs=3, lr=3e-3)(trained.original, trained)
    assert accuracy(trained, healed.module) > whole - 0.05
    again = checkpoint.load(checkpoint.save(healed, tmp_path / "c"), trained)
    assert again.digest() == healed.digest()
    feed = next(trained.split("test").batches(8))
    np.testing.assert_array_equal(call(again.module, feed)["output"], call(healed.module, feed)["output"])
    other = quadrants(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    with pytest.raises(InputError, match="build the network that was compressed"):
        checkpoint.load(tmp_path / "c", other)


@pytest.mark.parametrize("target", ["tensorrt", "openvino", "onnxruntime"])
def test_a_target_that_has_all_of_it_says_so(target: str, trained: Task) -> None:
    with pytest.raises(NotApplicable, match=rf"norm: {target} has it; act: {target} has it") as said:
        Adapt(target)(trained.original, trained)
    assert f"silu in forward: {target} has it" in said.value.what


def test_an_antialiased_resize_becomes_two_products() -> None:
    """The same numbers, for engines that ignore it in silence."""

    class Shrinks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(25, CLASSES)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            small = F.interpolate(image, (5, 5), mode="bicubic", antialias=True)
            return self.head(small.flatten(1))

    task = quadrants(Shrinks)
    made = Adapt("openvino")(task.original, task)
    feed = next(task.split("test").batches(8))
    np.testing.assert_allclose(call(made.module, feed)["output"], call(task.original.module, feed)["output"], atol=1e-5)
    assert "Resize" in ops(task, task.original)
    assert "Resize" not in ops(task, made)


@pytest.mark.parametrize(("mode", "exact"), [("area", True), ("bilinear", False), ("bicubic", False)])
def test_a_resize_that_a_pooling_stands_for_is_not_the_same(mode: str, exact: bool) -> None:
    class Halves(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return F.interpolate(image, (4, 4), mode=mode, antialias=mode != "area")

    feed = {"image": np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype(np.float32)}
    plan = _adapting.planned(Halves(), feed, "dla", ())
    assert [kind for kind, _ in plan.calls.values()] == ["pool"]
    assert plan.exact == exact


@pytest.mark.parametrize(
    ("side", "size", "exact"), [((8, 8), (2, 4), True), ((14, 28), (1, 1), True), ((7, 9), (5, 4), False)]
)
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_windows_pool_as_adaptive_pooling_does(
    side: tuple[int, int], size: tuple[int, int], exact: bool, kind: str
) -> None:
    x = torch.randn(2, 3, *side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = _forms.built(_forms.windows(side, size, kind))(x)
    adaptive = {"avg": F.adaptive_avg_pool2d, "max": F.adaptive_max_pool2d}[kind](x, size)
    assert made.shape == adaptive.shape
    assert not exact or torch.allclose(made, adaptive, atol=1e-12)
    longest = max(max(window) for window, _ in _forms.windows(side, size, kind)[1]["steps"])
    assert longest <= _forms.WINDOW


def test_what_no_window_reaches_is_said() -> None:
    for side, size in (((13, 13), (1, 1)), ((30, 4), (4, 4)), ((4, 4), (8, 8))):
        with pytest.raises(NotApplicable):
            _forms.windows(side, size, "avg")


@pytest.mark.parametrize(
    ("how", "made"),
    [
        ({"scale_factor": 2.0, "mode": "nearest"}, None),
        ({"size": (16, 16), "mode": "bilinear", "align_corners": False}, None),
        ({"scale_factor": 2.0, "mode": "bicubic"}, "Upsample"),
        ({"scale_factor": 2.0, "mode": "bilinear", "align_corners": True}, "Upsample"),
        ({"size": 4, "mode": "bilinear", "antialias": True}, "pool"),
        ({"size": 12, "mode": "bilinear"}, "refused"),
        ({"scale_factor": 8.0, "mode": "bilinear"}, "refused"),
    ],
)
def test_resizes_become_those_of_whole_factors(how: dict[str, Any], made: str | None) -> None:
    if made == "refused":
        with pytest.raises(NotApplicable, match="whole factors"):
            _forms.resize("whole_factors", (8, 8), how)
        return
    form = _forms.resize("whole_factors", (8, 8), how)
    assert (form and form[0]) == made
    if form is not None:
        x = torch.ones(1, 2, 8, 8)
        assert _forms.built(form)(x).shape == F.interpolate(x, **how).shape


@pytest.mark.parametrize("layer", [nn.GELU(), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid()])
def test_activations_are_near_in_clips_and_products(layer: nn.Module) -> None:
    table = _adapting.lacking("dla")[_adapting.LAYERS[type(layer)]]
    made = _forms.built(_adapting._PLAIN[table["form"]])
    x = torch.linspace(-6, 6, 101)
    limit = 1e-6 if table.get("exact") else 0.35
    assert float((made(x) - layer(x)).abs().max()) < limit


def test_every_kind_is_known_and_every_target_has_a_source() -> None:
    assert set(KINDS) == {*_adapting.LAYERS.values(), *_adapting.FUNCTIONS.values()}
    for target in ("dla", "tensorrt", "openvino", "onnxruntime"):
        assert set(_adapting.lacking(target)) <= set(KINDS)
        assert all(row["why"] for row in _adapting.lacking(target).values())


@pytest.mark.parametrize("settings", [{"epochs": -1}, {"lr": 0.0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot adapt"):
        Adapt(**settings)
    with pytest.raises(UsageError, match="did you mean 'silu'"):
        Adapt(keep=("silo",))
