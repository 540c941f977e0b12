"""provenance: module names from both exporters, and through passes that drop, rename and add."""

import onnx
import pytest
from onnx import helper, parser

from hasten.provenance import MODULE, carry, label, missing_names, module_of, nodes

DYNAMO = "pkg.torch.onnx.name_scopes"


def chain(*operators: str) -> onnx.ModelProto:
    """x -> t0 -> t1 ... with nodes called n0, n1, ..."""
    made = [
        helper.make_node(op, ["x" if i == 0 else f"t{i - 1}"], [f"t{i}"], name=f"n{i}")
        for i, op in enumerate(operators)
    ]
    ends = [helper.make_tensor_value_info(name, 1, [2]) for name in ("x", f"t{len(operators) - 1}")]
    return helper.make_model(helper.make_graph(made, "g", ends[:1], ends[1:]))


def named(proto: onnx.ModelProto) -> list[str | None]:
    return [module_of(node) for node in nodes(proto.graph)]


@pytest.mark.parametrize(
    ("scopes", "module"),
    [
        (["", "stages", "stages.0", "stages.0.conv1", "conv2d_3"], "stages.0.conv1"),
        (["", "network", "network.stages.0", "conv2d"], "stages.0"),
        (["", "network", "mean"], "mean"),
        (["", "mean"], "mean"),
    ],
)
def test_the_dynamo_exporters_record_is_read(scopes: list[str], module: str) -> None:
    proto = chain("Relu")
    proto.graph.node[0].metadata_props.add(key=DYNAMO, value=str(scopes))
    assert named(label(proto, root="network")) == [module]


@pytest.mark.parametrize("damaged", ["[", "3", "[]", "import os", ""])
def test_a_damaged_record_is_passed_over(damaged: str) -> None:
    proto = chain("Relu")
    proto.graph.node[0].metadata_props.add(key=DYNAMO, value=damaged)
    assert named(label(proto)) == ["n0"]


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("/network/stages/stages.0/conv1/Conv_1", "stages.0.conv1"),
        ("/stages/stages.0/blocks/blocks.11/mlp/fc1/MatMul", "stages.0.blocks.11.mlp.fc1"),
        ("/network/ReduceMean", "ReduceMean"),
        ("Conv_7", "Conv_7"),
    ],
)
def test_the_older_exporters_names_are_read(name: str, module: str) -> None:
    proto = chain("Relu")
    proto.graph.node[0].name = name
    assert named(label(proto, root="network")) == [module]


def test_a_node_without_any_name_takes_its_output() -> None:
    proto = chain("Relu")
    proto.graph.node[0].name = ""
    assert named(label(proto)) == ["t0"]


def test_label_copies_and_keeps_what_is_there() -> None:
    proto = chain("Relu", "Neg")
    proto.graph.node[0].metadata_props.add(key=MODULE, value="mine")
    before = proto.SerializeToString()
    assert named(label(label(proto))) == ["mine", "n1"]
    assert proto.SerializeToString() == before


def test_nodes_inside_branches_have_names_too() -> None:
    proto = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]> g (bool c, float[2] x) => (float[2] y) {
        y = If(c) <then_branch = t () => (float[2] a) { a = Neg(x) }, else_branch = e () => (float[2] b) { b = Abs(x) }>
        }""")
    assert named(label(proto)) == ["y", "a", "b"]
    assert missing_names(proto, label(proto)) == []
    assert missing_names(proto, proto) == ["If", "Neg", "Abs"]


def test_carry_finds_nodes_by_output_weight_name_and_input() -> None:
    before = label(chain("Relu", "Neg", "Abs", "Exp"))
    after = chain("Relu", "Neg", "Abs", "Exp")
    after.graph.node[1].name = "another"  # its output is still t1
    after.graph.node[2].output[0] = after.graph.node[3].input[0] = "new"  # its name is still n2
    after.graph.node[3].CopyFrom(helper.make_node("Exp", ["new"], ["t3"]))
    assert named(carry(before, after)) == ["n0", "n1", "n2", "n3"]


def test_carry_names_new_nodes_after_the_tensor_they_stand_on() -> None:
    before = chain("Relu", "Exp")
    after = chain("Relu", "Exp")
    del after.graph.node[1]
    after.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["t0", "s"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
            helper.make_node("Exp", ["d"], ["t1"], name="n1"),
        ]
    )
    assert named(carry(before, after)) == ["n0", "n0", "n1", "n1"]
    assert missing_names(before, carry(before, after)) == []


def test_a_node_that_took_its_neighbours_name_gets_its_own_back() -> None:
    """A library that folds b into a keeps a's weight, and writes b's notes on it."""
    before = label(
        parser.parse_model("""<ir_version: 8, opset_import: ["": 17]> g (float[2, 2] x) => (float[2, 2] y)
        <float[2, 2] w = {1, 2, 3, 4}, float[2] s = {1, 2}> { t = MatMul(x, w) y = Mul(t, s) }""")
    )
    after = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]> g (float[2, 2] x) => (float[2, 2] y)
        <float[2, 2] w = {1, 4, 3, 8}> { y = MatMul(x, w) }""")
    after.graph.node[0].metadata_props.add(key=MODULE, value="y")
    assert named(carry(before, after)) == ["t"]


def test_a_stretch_of_strangers_stays_without_a_name() -> None:
    before = chain("Relu", "Exp")
    after = helper.make_model(
        helper.make_graph(
            [helper.make_node("Neg", ["x" if i == 0 else f"u{i}"], [f"u{i + 1}"], name=f"m{i}") for i in range(8)],
            "g",
            before.graph.input,
            [helper.make_tensor_value_info("u8", 1, [2])],
        )
    )
    assert missing_names(before, carry(before, after)) == ["m3", "m4", "m5", "m6", "m7"]
