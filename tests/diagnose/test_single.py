"""Nodes are cut out with what they are given: shapes, constants, whole numbers, what is folded, what is inside."""

import numpy as np
import onnx
import pytest
from graphs import model, network
from onnx import helper

from hasten.diagnose.single import Single, first_call, settled, singles
from hasten.model import OnnxModel
from hasten.provenance import label
from single_ops import models, one


def cut(proto: onnx.ModelProto, **inputs: np.ndarray) -> dict[str, Single]:
    """By operator and place."""
    whole = OnnxModel(proto)
    feed = first_call(whole, inputs)
    made = OnnxModel(settled(proto, feed))
    return {f"{s.node.op_type}{i}": s for i, s in enumerate(singles(made, feed))}


def test_each_node_is_a_model_of_its_own() -> None:
    found = cut(network(), image=np.zeros((3, 1, 8, 8), np.float32))
    assert list(found) == ["Conv0", "Relu1", "Flatten2", "Gemm3", "ArgMax4"]
    for single in found.values():
        assert single.model is not None
        onnx.checker.check_model(single.model)
        assert len(single.model.graph.node) == 1
    gemm = found["Gemm3"].model
    assert gemm is not None
    assert [w.name for w in gemm.graph.initializer] == ["w2"]
    assert [d.dim_value for d in gemm.graph.input[0].type.tensor_type.shape.dim] == [1, 512]


def test_a_node_keeps_the_name_of_its_module() -> None:
    proto = label(network())
    for node in proto.graph.node:
        node.metadata_props[0].value = f"body.{node.op_type}"
    assert cut(proto, image=np.zeros((1, 1, 8, 8), np.float32))["Relu1"].module == "body.Relu"


def test_indices_are_those_of_the_run() -> None:
    """Drawn at random they would be out of range."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["i"], axis=1, keepdims=0),
        helper.make_node("Gather", ["w", "i"], ["y"]),
    ]
    made = model(nodes, {"x": ("N", 3)}, {"y": ("N", 2)}, {"w": np.ones((3, 2), np.float32)})
    found = cut(made, x=np.array([[0.0, 0.1, 2.0]], np.float32))
    assert found["Gather1"].feed["i"].tolist() == [2]


def test_what_depends_on_shapes_alone_is_a_constant() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["y"]),
    ]
    weights = {"zero": np.array([0], np.int64), "rest": np.array([6], np.int64)}
    found = cut(model(nodes, {"x": ("N", 2, 3)}, {"y": ("N", 6)}, weights), x=np.zeros((1, 2, 3), np.float32))
    reshape = found["Reshape3"].model
    assert reshape is not None
    assert [v.name for v in reshape.graph.input] == ["x"]
    assert onnx.numpy_helper.to_array(reshape.graph.initializer[0]).tolist() == [1, 6]
    assert [name for name, single in found.items() if single.folded] == ["Shape0", "Gather1", "Concat2"]
    concat = found["Concat2"].model
    assert concat is not None
    assert len(concat.graph.input) == 1  # something is left to run


def test_a_shape_that_only_a_run_tells() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Neg", ["i"], ["y"])]
    made = model(nodes, {"x": (1, 4)}, {}, {}, {"y": (2, "K")})
    found = cut(made, x=np.array([[0, 1, 0, 2]], np.float32))["Neg1"]
    assert found.feed["i"].tolist() == [[0, 0], [1, 3]]


def test_a_branch_takes_what_it_reads_from_outside() -> None:
    def branch(op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x"], ["b"])], op, [], [out])

    condition = np.array(True)
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg"))
    found = cut(model([node], {"x": (1, 4)}, {"y": (1, 4)}, {"c": condition}), x=np.ones((1, 4), np.float32))
    made = found["If0"].model
    assert made is not None
    assert [v.name for v in made.graph.input] == ["x"]
    assert [w.name for w in made.graph.initializer] == ["c"]


def test_what_passes_no_tensor_cannot_be_cut() -> None:
    nodes = [
        helper.make_node("SequenceConstruct", ["x"], ["s"]),
        helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0),
    ]
    found = cut(model(nodes, {"x": (1, 4)}, {"y": (1, 4)}, {}), x=np.ones((1, 4), np.float32))
    assert all(s.model is None and "no tensor" in s.why for s in found.values())


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (one("Relu", [(1, 8, 16, 16)], (1, 8, 16, 16)), True),
        (one("Relu", [(1, 8, 16, 17)], (1, 8, 16, 17)), False),
        (one("Relu", [(1, 8, 16, 16)], (1, 8, 16, 16), opset=13), False),
        (one("Abs", [(1, 8, 16, 16)], (1, 8, 16, 16)), False),
    ],
)
def test_the_key_tells_nodes_apart(other: OnnxModel, same: bool) -> None:
    def key(m: OnnxModel) -> str:
        (found,) = cut(m.proto, x0=np.zeros(m.signature.inputs[0].shape, np.float32)).values()
        return found.key

    assert (key(models()["relu"]) == key(other)) == same


def test_the_values_of_small_constants_count_and_those_of_weights_do_not() -> None:
    def key(bound: float, weight: float) -> tuple[str, str]:
        clip = one("Clip", [(1, 4)], (1, 4), [np.float32(0), np.float32(bound)])
        product = one("MatMul", [(1, 4)], (1, 4), [np.full((4, 4), weight, np.float32)])
        x = np.zeros((1, 4), np.float32)
        return cut(clip.proto, x0=x)["Clip0"].key, cut(product.proto, x0=x)["MatMul0"].key

    assert key(6, 1)[0] != key(7, 1)[0]
    assert key(6, 1)[1] == key(6, 2)[1]
