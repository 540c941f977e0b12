"""Trees as arrays: read, walked as ONNX Runtime walks them, written back."""

import numpy as np
import onnx
import pytest
from forests import features, fitted
from onnx import helper
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestRegressor,
)

from hasten.engines.onnxruntime import OnnxRuntime
from hasten.errors import InputError
from hasten.estimator import converted
from hasten.forest import Forest
from hasten.model import OnnxModel

DATA = features(64, 5)
KINDS = {
    "mean of classes": lambda: ExtraTreesClassifier(5, random_state=0),
    "boosted classes": lambda: GradientBoostingClassifier(n_estimators=4, random_state=0),
    "mean of numbers": lambda: RandomForestRegressor(5, random_state=0),
    "boosted numbers": lambda: GradientBoostingRegressor(n_estimators=6, random_state=0),
}


def one(modes: list[str], missing: int = 0, **changed: object) -> onnx.NodeProto:
    """A root that compares with 0.5 and has two leaves, 1 for yes and 2 for no, for each of `modes` a tree."""
    n = len(modes)
    held: dict[str, object] = {
        "n_targets": 1, "nodes_treeids": np.repeat(np.arange(n), 3), "nodes_nodeids": [0, 1, 2] * n,
        "nodes_featureids": [0] * 3 * n, "nodes_modes": [m for mode in modes for m in (mode, "LEAF", "LEAF")],
        "nodes_values": [0.5, 0.0, 0.0] * n, "nodes_truenodeids": [1, 0, 0] * n, "nodes_falsenodeids": [2, 0, 0] * n,
        "nodes_missing_value_tracks_true": [missing, 0, 0] * n, "target_treeids": np.repeat(np.arange(n), 2),
        "target_nodeids": [1, 2] * n, "target_ids": [0, 0] * n, "target_weights": [1.0, 2.0] * n,
    }  # fmt: skip
    held = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in (held | changed).items()}
    return helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **held)


def answers(node: onnx.NodeProto, x: np.ndarray) -> np.ndarray:
    """By ONNX Runtime."""
    values = [helper.make_tensor_value_info(name, 1, ["N", 1]) for name in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    with OnnxRuntime().compile(OnnxModel(helper.make_model(graph, opset_imports=imports, ir_version=9))) as session:
        return session({"x": x})["y"]


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"])
def test_every_comparison_goes_the_way_of_onnx_runtime(mode: str, missing: int) -> None:
    x = np.array([[0.4], [0.5], [np.nextafter(np.float32(0.5), np.float32(1))], [np.nan], [np.inf]], np.float32)
    node = one([mode], missing)
    np.testing.assert_array_equal(Forest.of(node).scores(x), answers(node, x))


def test_trees_of_several_comparisons_and_a_mean() -> None:
    x = np.array([[0.4], [0.5], [0.6]], np.float32)
    node = one(["BRANCH_LEQ", "BRANCH_GT", "BRANCH_LT"], aggregate_function="AVERAGE", base_values=[10.0])
    np.testing.assert_allclose(Forest.of(node).scores(x), answers(node, x), rtol=1e-6)
    np.testing.assert_allclose(answers(Forest.of(node).written(node), x), answers(node, x), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_answers_as_what_was_read(kind: str) -> None:
    model = converted(fitted(KINDS[kind]()), DATA)
    (place,) = [i for i, n in enumerate(model.proto.graph.node) if n.op_type.startswith("Tree")]
    node = model.proto.graph.node[place]
    forest = Forest.of(node)
    made = onnx.ModelProto()
    made.CopyFrom(model.proto)
    made.graph.node[place].CopyFrom(forest.written(node))
    x = DATA.inputs["features"]
    np.testing.assert_allclose(Forest.of(made.graph.node[place]).scores(x), forest.scores(x), rtol=1e-12)
    with OnnxRuntime().compile(model) as before, OnnxRuntime().compile(OnnxModel(made)) as after:
        for a, b in zip(before(DATA.inputs).values(), after(DATA.inputs).values(), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-6)


def test_numbers_of_nodes_may_be_anything_and_in_any_order() -> None:
    node = one(["BRANCH_LEQ"])
    mixed = one(
        ["BRANCH_LEQ"], nodes_nodeids=[9, 4, 7], nodes_modes=["LEAF", "BRANCH_LEQ", "LEAF"],
        nodes_values=[0.0, 0.5, 0.0], nodes_truenodeids=[0, 7, 0], nodes_falsenodeids=[0, 9, 0],
        target_nodeids=[7, 9],
    )  # fmt: skip
    x = np.array([[0.4], [0.6]], np.float32)
    np.testing.assert_array_equal(Forest.of(mixed).scores(x), Forest.of(node).scores(x))
    assert Forest.of(mixed).root.tolist() == [0]


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("no root leads to", {"nodes_falsenodeids": [0, 0, 0]}),
        ("not there", {"nodes_falsenodeids": [8, 0, 0]}),
        ("one way to each node", {"nodes_falsenodeids": [1, 0, 0]}),
        ("same number", {"nodes_nodeids": [0, 1, 1]}),
        ("different lengths", {"nodes_values": [0.5]}),
        ("weights in branches", {"target_nodeids": [0, 2]}),
        ("not finite", {"nodes_values": [float("nan"), 0.0, 0.0]}),
        ("negative column", {"nodes_featureids": [-1, 0, 0]}),
        ("branch by", {"nodes_modes": ["BRANCH_MEMBER", "LEAF", "LEAF"]}),
    ],
)
def test_what_is_no_tree_is_refused(words: str, changed: dict[str, list[object]]) -> None:
    with pytest.raises(InputError, match=words):
        Forest.of(one(["BRANCH_LEQ"], **changed))
