"""early_exit: heads learn, the network stands still, and no more is lost than was allowed."""

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trainable import quadrants

from hasten.compress._exits import Head, Place, places, temperature, trained
from hasten.compress._places import sample
from hasten.compress.early_exit import EarlyExit
from hasten.compress.heal import Heal
from hasten.engine import available
from hasten.engines.torch import call
from hasten.errors import NotApplicable, UsageError
from hasten.exits import Exit, cut
from hasten.metric import METRICS
from hasten.model import OnnxModel, TorchModel
from hasten.recipe import Recipe
from hasten.task import Task


class Block(nn.Module):
    """[N, 16, 8, 8] -> the same."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.norm(self.conv(x)))


class Deep(nn.Module):
    """Four blocks behind a stem."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.blocks = nn.Sequential(*(Block() for _ in range(4)))
        self.head, self.scale = nn.Linear(64, 4), scale

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.stem(image))
        return self.scale * self.head(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


@cache
def task() -> Task:
    """Of a network that tells the quadrants apart."""
    plain = quadrants(Deep)
    net = Heal(6, lr=5e-3, batch=32, precision="f32")(plain.original, plain).module
    return quadrants(lambda: copy.deepcopy(net))


@cache
def made() -> OnnxModel:
    step = EarlyExit(max_drop=0.02, epochs=6, batch=32)
    return step(task().original, task())  # type: ignore[return-value]


def answers(model: OnnxModel, part: Any) -> np.ndarray:
    with available("onnx")[0].compile(model) as session:
        return next(iter(session(task().split(part).inputs).values()))


def test_it_loses_no_more_than_is_allowed_and_many_leave() -> None:
    data, original = task().split("validate"), task().original
    assert isinstance(original, TorchModel)
    before = (call(original.module, data.inputs)["output"].argmax(1) == data.target).mean()
    assert before > 0.9
    assert (answers(made(), "validate").argmax(1) == data.target).mean() >= before - 0.02
    (said,) = made().said
    assert int(said.partition("%")[0]) > 50
    assert "leave behind blocks." in said


def test_the_head_answers_where_it_is_sure_and_the_network_elsewhere() -> None:
    """Seen on the first stage alone."""
    data, original, at = task().split("test"), task().original, Exit.of(made().proto)
    assert at
    assert isinstance(original, TorchModel)
    first, rest = cut(made())
    with available("onnx")[0].compile(first) as session:
        quick = session(data.inputs)["output"]
    powers = np.exp(quick.astype(np.float64))
    sure = (powers / powers.sum(1, keepdims=True)).max(1) >= at.threshold
    whole = call(original.module, data.inputs)["output"]
    np.testing.assert_allclose(answers(made(), "test"), np.where(sure[:, None], quick, whole), atol=1e-4)
    assert 0.3 < sure.mean() < 1
    assert len(rest.proto.graph.node) < len(made().proto.graph.node) - len(rest.signature.outputs)


@pytest.mark.parametrize("allowed", [0.0, 0.02, 0.1])
def test_the_lowest_threshold_is_found_that_loses_no_more(allowed: float) -> None:
    """Of answers that are right as often as they say."""
    rng, place = np.random.default_rng(0), Place("b", (4,), 1, 0.5)
    logits = rng.normal(0, 2, (1000, 4))
    powers = np.exp(logits)
    sure = (powers / powers.sum(1, keepdims=True)).max(1)
    quick, whole = (rng.random(1000) < sure).astype(float), np.ones(1000)
    found = EarlyExit(max_drop=allowed)._threshold(0, place, logits, quick, whole, METRICS["top1"])
    leave = sure >= found.threshold
    assert found.leave == leave.mean()
    assert found.cost == pytest.approx(1 - leave.mean() / 2)
    assert np.where(leave, 1 - quick, 0).mean() <= allowed + 1e-9
    order = np.argsort(-sure)
    lost = np.cumsum(1 - quick[order]) / 1000
    assert leave.sum() >= np.flatnonzero(lost <= allowed + 1e-9).max() - 3  # 400 numbers of samples are tried
    assert not (np.abs(sure - found.threshold) < 1e-9).any()


def test_heads_learn_and_nothing_else_moves() -> None:
    original = task().original
    assert isinstance(original, TorchModel)
    state = {k: v.clone() for k, v in original.module.state_dict().items()}
    found, _ = places(original, sample(original, task()))
    heads = trained(original, task(), found[:1], Heal(4, lr=5e-3, batch=32, precision="f32"))
    data = task().split("test")
    net = copy.deepcopy(original.module)
    inner = net.stem(torch.from_numpy(data.inputs["image"]))
    for block in net.blocks[: int(found[0].name[-1]) + 1]:
        inner = block(inner)
    assert (heads[0](inner).argmax(1).numpy() == data.target).mean() > 0.8
    assert all(torch.equal(v, original.module.state_dict()[k]) for k, v in state.items())


def test_places_are_blocks_in_front_of_the_last_quarter() -> None:
    original = task().original
    assert isinstance(original, TorchModel)
    found, _ = places(original, sample(original, task()))
    assert [p.name for p in found] == ["blocks.0", "blocks.1"]  # the third one ends at 0.754
    assert [round(p.share, 2) for p in found] == [0.26, 0.51]
    assert {(p.shape, p.axis) for p in found} == {((16, 8, 8), 1)}


@pytest.mark.parametrize(
    ("shape", "axis", "given"),
    [((6, 8, 8), 1, (2, 6, 8, 8)), ((8, 8, 6), 3, (2, 8, 8, 6)), ((5, 6), 2, (2, 5, 6)), ((6, 5), 1, (2, 6, 5)),
     ((6,), 1, (2, 6))],
)  # fmt: skip
def test_a_head_stands_on_maps_sequences_and_rows(shape: Any, axis: int, given: Any) -> None:
    """And it does not matter in which order the places of a sequence come."""
    head = Head(Place("b", shape, axis, 0.5), 4).eval()
    x = torch.randn(given, generator=torch.Generator().manual_seed(0))
    assert head(x).shape == (2, 4)
    if len(given) == 3:
        torch.testing.assert_close(head(x.flip(3 - axis)), head(x))
    wanted = head(x) / 2.5
    head.cool(2.5)
    torch.testing.assert_close(head(x), wanted)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_is_found(factor: float) -> None:
    """Labels drawn from the softmax of logits: multiplied by a factor, they are that much too sure."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 5))
    drawn = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    assert temperature(factor * logits, drawn) == pytest.approx(factor, rel=0.08)


def test_it_goes_behind_prune_and_in_front_of_int8() -> None:
    recipe = Recipe.parse("prune(0.5) > early_exit(blocks.1, max_drop=0.5, epochs=1) > quantize(method=placed)")
    model = recipe(task().original, task())
    assert model.quantized
    assert "leave behind blocks.1," in model.said[0]
    first, rest = cut(model)
    assert first.quantized
    assert rest.quantized
    assert [t.dtype for t in rest.signature.inputs] == ["uint8"]
    with pytest.raises(UsageError, match="stands after early_exit"):
        Recipe.parse("early_exit > prune(0.5)")


def test_why_not() -> None:
    class Sure(Deep):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.softmax(super().forward(image), 1)

    class Two(Deep):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return super().forward(image), image

    for net, said in [
        (Sure, "the answers are no logits"),
        (Two, "networks that give one row of logits a sample"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), "there is no inner block"),
    ]:
        other = quadrants(net)
        with pytest.raises(NotApplicable, match=said):
            EarlyExit()(other.original, other)
    with pytest.raises(UsageError, match=r"did you mean 'blocks\.1'"):
        EarlyExit("blocks.9")(task().original, task())
    hopeless = EarlyExit(max_drop=0.0, epochs=1, lr=1e-9)
    with pytest.raises(NotApplicable, match=r"of its answers .* are sure enough, too few to pay"):
        hopeless(task().original, task())


@pytest.mark.parametrize("settings", [{"max_drop": -0.1}, {"epochs": 0}, {"lr": 0.0}, {"teacher": 2.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        EarlyExit(**settings)
