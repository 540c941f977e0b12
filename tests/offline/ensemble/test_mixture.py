"""Weights by likelihood and by least squares, and the graph of a mean against its numpy twin."""

from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from onnx import helper

from hasten import find
from hasten.answer import Answer, activated
from hasten.errors import NotApplicable
from hasten.model import OnnxModel, Tensor
from hasten.offline.ensemble.merged import Mean, prefixed, together
from hasten.offline.ensemble.mixture import LEAST, activation_of, fitted, mixed, without_the_least


def logits(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (count, *shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(5,), (4, 3)])
def test_weights_of_a_mixture_are_found(shape: Any) -> None:
    """Labels drawn from it; with an axis between samples and classes as well."""
    outputs = [logits(6000, *shape, seed=s) for s in range(3)]
    mean = mixed(outputs, (0.6, 0.4, 0.0), "softmax")
    drawn = (mean + np.random.default_rng(9).gumbel(size=mean.shape)).argmax(-1)
    found = fitted(outputs, drawn, "softmax")
    assert found == pytest.approx([0.6, 0.4, 0.0], abs=0.03)
    assert without_the_least(found)[2] == 0
    scores = [activated(o.astype(float), "softmax") for o in outputs]
    np.testing.assert_allclose(fitted(scores, drawn, "none"), found, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_fitted_weights_are_never_less_likely_than_even_ones(seed: int) -> None:
    outputs = [logits(50, 4, seed=10 * seed + s) for s in range(3)]
    drawn = np.random.default_rng(seed).integers(0, 4, 50)
    found = fitted(outputs, drawn, "softmax")

    def loss(weights: Any) -> float:
        return float(-mixed(outputs, weights, "softmax")[np.arange(50), drawn].mean())

    assert loss(found) <= loss([1 / 3] * 3) + 1e-9
    for other in np.random.default_rng(seed).dirichlet(np.ones(3), 30):
        assert loss(found) <= loss(other) + 1e-6, "the optimum"


def test_marks_under_a_sigmoid_and_values() -> None:
    rng, outputs = np.random.default_rng(1), [logits(4000, 6, seed=s) for s in range(2)]
    chance = 1 / (1 + np.exp(-mixed(outputs, (0.3, 0.7), "sigmoid")))
    assert fitted(outputs, rng.random(chance.shape) < chance, "sigmoid") == pytest.approx([0.3, 0.7], abs=0.04)
    values = 0.2 * outputs[0] + 0.8 * outputs[1] + rng.normal(0, 1, outputs[0].shape)
    assert fitted(outputs, values, "none") == pytest.approx([0.2, 0.8], abs=0.02)
    assert fitted(outputs, np.zeros((4000, 2)), "none") is None


@pytest.mark.parametrize("shape", [(4000,), (4000, 1)])
def test_members_of_one_output(shape: tuple[int, ...]) -> None:
    """[N, 1], with values or marks [N] as a task has them: these are no class numbers."""
    rng, outputs = np.random.default_rng(2), [logits(4000, 1, seed=s) for s in range(2)]
    values = 0.2 * outputs[0] + 0.8 * outputs[1] + rng.normal(0, 1, outputs[0].shape)
    assert fitted(outputs, values.reshape(shape), "none") == pytest.approx([0.2, 0.8], abs=0.04)
    chance = 1 / (1 + np.exp(-mixed(outputs, (0.3, 0.7), "sigmoid")))
    marks = (rng.random(chance.shape) < chance).astype(np.int64).reshape(shape)
    assert fitted(outputs, marks, "sigmoid") == pytest.approx([0.3, 0.7], abs=0.1)


def test_the_least_are_left_out_and_the_rest_adds_up() -> None:
    assert without_the_least(np.array([0.5, 0.5 - LEAST / 2, LEAST / 2])).tolist()[2] == 0
    assert without_the_least(np.array([0.5, 0.3, 0.2])) == pytest.approx([0.5, 0.3, 0.2])
    assert without_the_least(np.full(200, 0.005)).sum() == pytest.approx(1)


def test_what_is_averaged() -> None:
    scores = activated(logits(9, 4).astype(float), "softmax")
    assert activation_of(Answer("classes"), True, [logits(9, 4)]) == "softmax"
    assert activation_of(Answer("classes"), True, [scores]) == "none", "probabilities already"
    assert activation_of(Answer("classes", threshold=0.2), True, [logits(9, 4)]) == "none", "its scale is asked for"
    assert activation_of(Answer(), False, [logits(9, 4)]) == "none"
    assert activation_of(Answer("events", "sigmoid"), False, [logits(9, 4)]) == "sigmoid"


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
def test_the_graph_is_the_mean(engine: str, activation: Any) -> None:
    """Also where a probability is below what float32 holds."""
    outputs = [logits(20, 3, 4, seed=s) for s in range(2)]
    outputs[0][0], outputs[1][0] = 300 * np.sign(outputs[0][0]), 300 * np.sign(outputs[0][0])
    rest = [logits(20, 2, seed=s) for s in (5, 6)]
    tensors = Tensor("scores", "float32", ("N", 3, 4)), Tensor("box", "float32", ("N", 2))
    mean = Mean(tensors, {"a.": 0.25, "b.": 0.75}, activation)
    feed = {
        f"{p}.{name}": a for name, both in (("scores", outputs), ("box", rest)) for p, a in zip("ab", both, strict=True)
    }
    with find.engine(engine)(threads=1).compile(mean.alone()) as session:
        came = session(feed)
    wanted = mixed(outputs, (0.25, 0.75), activation)
    assert np.isfinite(came["scores"]).all()
    # sums of float32 near one leave a logit near its end open by a few units
    atol = {"none": 1e-4, "softmax": 1e-4, "sigmoid": 2.0}[activation]
    np.testing.assert_allclose(came["scores"], wanted, atol=atol, rtol=1e-5)
    middle = np.abs(wanted) < 6
    np.testing.assert_allclose(came["scores"][middle], wanted[middle], atol=1e-3)
    np.testing.assert_allclose(came["box"], mixed(rest, (0.25, 0.75), "none"), atol=1e-5)


def branched() -> OnnxModel:
    """A graph whose If takes a weight and a tensor from outside."""

    def branch(name: str, op: str) -> onnx.GraphProto:
        node = helper.make_node(op, ["x", "w"], [f"y_{name}"])
        value = helper.make_tensor_value_info(f"y_{name}", 1, None)
        return helper.make_graph([node], name, [], [value])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("more", "Mul"), else_branch=branch("less", "Sub")),
    ]
    weights = {"w": np.array([1.0, 2.0], np.float32), "zero": np.array(0, np.float32)}
    return OnnxModel(graphs.model(nodes, {"x": ("N", 2)}, {"y": ("N", 2)}, weights))


def test_names_inside_branches_go_along() -> None:
    model = branched()
    renamed = prefixed(model, "m.", ["x"])
    assert [t.name for t in renamed.signature.inputs] == ["x"]
    assert [t.name for t in renamed.signature.outputs] == ["m.y"]
    both = together({"m.": model, "n.": model}, Mean(model.signature.outputs, {"m.": 0.5, "n.": 0.5}, "none"))
    with find.engine("onnxruntime")().compile(both) as whole, find.engine("onnxruntime")().compile(model) as one:
        for sign in (1, -1):
            x = sign * np.ones((3, 2), np.float32)
            np.testing.assert_allclose(whole({"x": x})["y"], one({"x": x})["y"])


def test_why_not_one_graph() -> None:
    def whole(**changed: Any) -> OnnxModel:
        return OnnxModel(graphs.network(**changed))

    mean = Mean((), {}, "none")
    for others, said in [
        ([whole(opset=18)], "their opsets of ai.onnx are 17 and 18"),
        ([whole(batch=1)], "some take another batch"),
        ([branched()], "their inputs have different shapes"),
    ]:
        with pytest.raises(NotApplicable, match=said):
            together({str(i): m for i, m in enumerate([whole(), *others])}, mean)
