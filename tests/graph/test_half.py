"""half: half the bytes, nearly the same answers."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from hasten.engine import available
from hasten.errors import NotApplicable
from hasten.graph.half import Half
from hasten.model import OnnxModel
from hasten.task import Task

ROUNDING = 2.0**-11  # relative, of a number stored as binary16


def linear(weight: np.ndarray) -> OnnxModel:
    sides = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])]
        for name, size in (("x", weight.shape[0]), ("y", weight.shape[1]))
    )
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="head")]
    return OnnxModel(
        helper.make_model(
            helper.make_graph(nodes, "g", *sides, [numpy_helper.from_array(weight, "w")]),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        )
    )


@pytest.fixture
def weight() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(64, 128)).astype(np.float32)


def test_the_file_is_half_as_large_and_answers_nearly_the_same(weight: np.ndarray, tiny_task: Task) -> None:
    before = linear(weight)
    after = Half().apply(before, tiny_task)
    assert after.proto.ByteSize() < before.proto.ByteSize() * 0.51
    assert after.signature == before.signature
    feed = {"x": np.random.default_rng(1).normal(size=(5, 64)).astype(np.float32)}
    for engine in available("onnx"):
        with engine.compile(before) as old, engine.compile(after) as new:
            # an output sums 64 products, each off by at most the rounding of its weight
            bound = np.abs(feed["x"]) @ np.abs(weight) * ROUNDING
            assert (np.abs(new(feed)["y"] - old(feed)["y"]) <= bound * 1.01).all(), engine


def test_nothing_to_halve_is_said(weight: np.ndarray, tiny_task: Task) -> None:
    for small in (weight[:4, :4], weight * 1e6):
        with pytest.raises(NotApplicable, match="no float32 weight of 256 elements"):
            Half().apply(linear(small), tiny_task)
    with pytest.raises(NotApplicable, match="nothing to do"):
        Half().apply(Half().apply(linear(weight), tiny_task), tiny_task)


def test_the_threshold_is_read(weight: np.ndarray, tiny_task: Task) -> None:
    made = Half(min_elements=16).apply(linear(weight[:4, :4]), tiny_task)
    assert [w.data_type for w in made.proto.graph.initializer] == [TensorProto.FLOAT16]


def test_a_weight_in_front_of_q_and_dq_stays_a_constant(weight: np.ndarray, tiny_task: Task) -> None:
    made = linear(weight)
    graph = made.proto.graph
    graph.initializer.extend([numpy_helper.from_array(np.float32(0.01), "s"), numpy_helper.from_array(np.int8(0), "z")])
    graph.node[0].input[1] = "d"
    graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="dq"))
    graph.node.insert(0, helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], name="q"))
    with pytest.raises(NotApplicable):
        Half().apply(made, tiny_task)
