"""What layers achieve: whose work they do, what holds them up, and that an engine's account adds up."""

from dataclasses import asdict
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import model
from onnx import helper

from hasten import find
from hasten.data import Data
from hasten.measure.peaks import Peaks
from hasten.measure.roofline import Achieved, roofline
from hasten.model import OnnxModel
from hasten.provenance import label

GIGA = 1e9
PEAKS = Peaks(
    threads=1,
    operations={"f32": 100 * GIGA, "int8": 400 * GIGA},
    layers={"f32": "product on x", "int8": "product on x"},
    read={"L1": 200 * GIGA, "memory": 10 * GIGA},
    copy={"L1": 200 * GIGA, "memory": 10 * GIGA},
    holds={"L1": 1 << 15},
)


def net() -> onnx.ModelProto:
    """A convolution with its activation, a mean, a product."""
    weights = {"w": np.ones((16, 8, 3, 3), np.float32), "m": np.ones((16, 4), np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="mean"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "m"], ["y"], name="head"),
    ]
    return label(model(nodes, {"x": ("N", 8, 32, 32)}, {"y": ("N", 4)}, weights))


def layer(name: str, ms: float, *of: str, precision: str = "f32", heavy: bool = True) -> dict[str, Any]:
    return {"name": name, "op": "?", "precision": precision, "heavy": heavy, "of": of, "ms": ms}


def rows(*layers: dict[str, Any]) -> tuple[Achieved, ...]:
    return roofline(layers, OnnxModel(net()), PEAKS).layers


MACS = 16 * 32 * 32 * 8 * 9
INPUT, MAP, FILTERS = 4 * 8 * 32 * 32, 4 * 16 * 32 * 32, 4 * 16 * 8 * 9  # bytes


@pytest.mark.parametrize("of", [("conv", "relu"), ("r",), ("conv",)])
def test_a_layer_has_the_work_of_all_that_it_is_made_of(of: tuple[str, ...]) -> None:
    """Named by nodes, by the value that it writes, or by the first of what was fused."""
    found = rows(layer("one", 1.0, *of), layer("two", 1.0, "mean"), layer("three", 1.0, "head"))
    assert [r.operations for r in found] == [2 * MACS, 0, 2 * 16 * 4]
    assert [r.of for r in found] == [("conv", "relu"), ("mean",), ("flat", "head")]
    assert found[0].ops == ("Conv", "Relu")
    assert found[0].modules[0] == "conv"


def test_values_inside_a_layer_do_not_move() -> None:
    fused, pool, head = rows(layer("one", 1.0, "r"), layer("two", 1.0, "mean"), layer("three", 1.0, "head"))
    assert fused.bytes == INPUT + FILTERS + MAP
    assert pool.bytes == MAP + 4 * 16
    assert head.bytes == 4 * (16 + 16 * 4 + 4)
    conv, relu = rows(layer("one", 1.0, "conv"), layer("two", 1.0, "relu"), layer("3", 1.0, "mean"))[:2]
    assert (conv.bytes, relu.bytes) == (INPUT + FILTERS + MAP, 2 * MAP)


def test_half_floats_are_half_the_bytes() -> None:
    found, _ = rows(layer("one", 1.0, "r", precision="bf16"), layer("two", 1.0, "mean"))
    assert found.bytes == (INPUT + FILTERS + MAP) // 2


def residual(stored: bool) -> onnx.ModelProto:
    """Two convolutions, and an addition of what the first gives, around whose values Q and DQ may stand."""
    weights: dict[str, Any] = {"s": np.float32(1), "z": np.int8(0)}
    nodes: list[onnx.NodeProto] = []

    def kept(name: str) -> str:
        if not stored:
            return name
        nodes.append(helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}q"], name=f"{name}Q"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}q", "s", "z"], [f"{name}d"], name=f"{name}D"))
        return f"{name}d"

    def conv(name: str, value: str) -> str:
        weight = f"{name}w"
        if stored:
            weights[f"{weight}q"] = np.ones((8, 8, 3, 3), np.int8)
            nodes.append(helper.make_node("DequantizeLinear", [f"{weight}q", "s", "z"], [weight], name=f"{weight}D"))
        else:
            weights[weight] = np.ones((8, 8, 3, 3), np.float32)
        nodes.append(helper.make_node("Conv", [value, weight], [name], name=f"{name}C", pads=[1] * 4))
        return kept(name)

    first = conv("a", kept("x"))
    second = conv("b", first)
    nodes.append(helper.make_node("Add", [second, first], ["t"], name="add"))
    nodes.append(helper.make_node("Relu", ["t"], ["y"], name="relu"))
    return model(nodes, {"x": ("N", 8, 16, 16)}, {"y": ("N", 8, 16, 16)}, weights)


def test_what_is_fused_behind_a_layer_is_that_layers() -> None:
    """The addition reads both, and runs where the last of them does; what reads only that belongs there too."""
    given = [layer("one", 1.0, "aC"), layer("two", 1.0, "bC")]
    one, two = roofline(given, OnnxModel(residual(stored=False)), PEAKS).layers
    assert (one.of, two.of) == (("aC",), ("bC", "add", "relu"))
    size = 8 * 16 * 16 * 4
    assert one.bytes == 2 * size + 4 * 8 * 8 * 9
    assert two.bytes == 2 * size + 4 * 8 * 8 * 9


def test_what_is_stored_in_8_bits_moves_8_bits() -> None:
    given = [layer("in", 1.0, "xQ"), layer("one", 1.0, "aC"), layer("two", 1.0, "bC"), layer("sum", 1.0, "add")]
    first, one, two, last = roofline(given, OnnxModel(residual(stored=True)), PEAKS).layers
    size = 8 * 16 * 16
    assert first.bytes == 5 * size
    assert one.bytes == 2 * size + 8 * 8 * 9
    assert two.bytes == 2 * size + 8 * 8 * 9
    assert last.bytes == (1 + 1 + 4) * size
    assert all(r.uncounted == () for r in [roofline(given, OnnxModel(residual(stored=True)), PEAKS)])


def test_of_a_table_only_rows_are_read() -> None:
    weights = {"table": np.ones((1000, 64), np.float32)}
    nodes = [helper.make_node("Gather", ["table", "i"], ["y"], name="rows")]
    made = model(nodes, {"i": ("N", 4)}, {"y": ("N", 4, 64)}, weights)
    made.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    (found,) = roofline([layer("rows", 1.0, "rows")], OnnxModel(made), PEAKS).layers
    assert found.bytes == 4 * 8 + 2 * (4 * 4 * 64)


def test_free_axes_are_those_of_the_data() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    made = OnnxModel(model(nodes, {"x": ("N", "length", 8)}, {"y": ("N", "length", 8)}, {"w": np.ones((8, 8), "f4")}))
    (found,) = roofline([layer("product", 1.0, "product")], made, PEAKS, 1, {"length": 5}).layers
    assert found.macs == 5 * 64
    for value in (made.proto.graph.input[0], made.proto.graph.output[0]):
        value.type.tensor_type.shape.dim[1].ClearField("dim_param")
    nameless = OnnxModel(made.proto)
    axes = Data({"x": np.ones((2, 5, 8), np.float32)}).axes(nameless.signature)
    (found,) = roofline([layer("product", 1.0, "product")], nameless, PEAKS, 1, axes).layers
    assert found.macs == 5 * 64
    made.proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "length"
    blind = roofline([layer("product", 1.0, "product")], OnnxModel(made.proto), PEAKS)
    assert blind.layers[0].macs == 64
    assert blind.uncounted == ("free axis 'length'",)


def test_work_that_no_layer_claims_is_told() -> None:
    """It is not given to a neighbour that does not multiply; nor is a layer that multiplies nothing passed over."""
    found = roofline([layer("pool", 1.0, "mean", heavy=False), layer("odd", 1.0, "?")], OnnxModel(net()), PEAKS)
    assert set(found.uncounted) == {
        "Conv conv, in no layer",
        "MatMul head, in no layer",
        "the layer odd, in which no node was found",
    }
    assert [r.macs for r in found.layers] == [0, 0]


def test_an_activation_with_constant_ends_is_the_layers_before() -> None:
    """As older exporters write ReLU6."""
    weights = {name: np.ones((8, 8, 1, 1), np.float32) for name in ("w1", "w2")}
    nodes = [helper.make_node("Constant", [], [n], name=n, value_float=v) for n, v in (("low", 0.0), ("high", 6.0))]
    nodes.append(helper.make_node("Conv", ["x", "w1"], ["a"], name="one"))
    nodes.append(helper.make_node("Clip", ["a", "low", "high"], ["b"], name="clip"))
    nodes.append(helper.make_node("Conv", ["b", "w2"], ["y"], name="two"))
    made = model(nodes, {"x": ("N", 8, 4, 4)}, {"y": ("N", 8, 4, 4)}, weights)
    found = roofline([layer("1", 1.0, "one"), layer("2", 1.0, "two")], OnnxModel(made), PEAKS).layers
    assert [r.ops for r in found] == [("Conv", "Clip"), ("Conv",)]


def test_a_norm_in_pieces_is_the_layer_that_gives_its_value() -> None:
    """Engines make one layer of it, and name it by its last value."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="product"),
        helper.make_node("ReduceMean", ["a"], ["m"], name="mean", axes=[-1]),
        helper.make_node("Sub", ["a", "m"], ["d"], name="centre"),
        helper.make_node("Mul", ["d", "d"], ["s"], name="square"),
        helper.make_node("ReduceMean", ["s"], ["v"], name="variance", axes=[-1]),
        helper.make_node("Sqrt", ["v"], ["r"], name="root"),
        helper.make_node("Div", ["d", "r"], ["y"], name="norm"),
    ]
    made = model(nodes, {"x": ("N", 8)}, {"y": ("N", 8)}, {"w": np.ones((8, 8), np.float32)})
    layers = [layer("1", 1.0, "product"), layer("2", 1.0, "y", heavy=False)]
    first, last = roofline(layers, OnnxModel(made), PEAKS).layers
    assert first.ops == ("MatMul",)
    assert len(last.of) == 6


def test_an_operand_that_is_left_out_is_no_value() -> None:
    shapes = {"w": (1, 16, 4), "r": (1, 16, 4)}
    weights = {name: np.ones(shape, np.float32) for name, shape in shapes.items()} | {"six": np.float32(6)}
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["", "h"], hidden_size=4),
        helper.make_node("Clip", ["h", "", "six"], ["y"], name="clip"),
    ]
    made = model(nodes, {"x": (3, "N", 4)}, {"y": (1, "N", 4)}, weights)
    (found,) = roofline([layer("all", 1.0, "h")], OnnxModel(made), PEAKS).layers
    assert found.of == ("h", "clip")
    assert found.macs > 0


def test_half_weights_are_read_as_the_engine_keeps_them() -> None:
    weights = {"w16": np.ones((64, 64), np.float16)}
    nodes = [
        helper.make_node("Cast", ["w16"], ["w"], name="cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
    ]
    made = OnnxModel(model(nodes, {"x": ("N", 64)}, {"y": ("N", 64)}, weights))
    (found,) = roofline([layer("product", 1.0, "product")], made, PEAKS).layers
    assert found.bytes == 4 * (64 * 64 + 64 + 64)


def test_outputs_have_their_own_width() -> None:
    nodes = [helper.make_node("ArgMax", ["x"], ["y"], name="best", axis=1, keepdims=0)]
    made = OnnxModel(model(nodes, {"x": ("N", 10)}, {}, {}, {"y": ("N",)}))
    (found,) = roofline([layer("best", 1.0, "best")], made, PEAKS).layers
    assert found.bytes == 40 + 8


def test_what_multiplies_where_nobody_counts_is_unknown() -> None:
    """An operator without a rule."""
    node = helper.make_node("Puzzle", ["x"], ["y"], name="puzzle", domain="some.where")
    made = helper.make_model(
        helper.make_graph(
            [node], "odd",
            [helper.make_tensor_value_info("x", 1, ("N", 4))], [helper.make_tensor_value_info("y", 1, ("N", 4))],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("some.where", 1)],
    )  # fmt: skip
    found = roofline([layer("puzzle", 1.0, "puzzle")], OnnxModel(made), PEAKS)
    assert found.uncounted == ("Puzzle",)
    assert (found.layers[0].utilization, found.layers[0].bound) == (None, "unknown")


def test_what_holds_a_layer_up() -> None:
    floor_ms = 2 * MACS / PEAKS.operations["f32"] * 1e3
    (fast,) = rows(layer("conv", 2 * floor_ms, "r"))
    assert (fast.bound, fast.utilization) == ("compute", pytest.approx(0.5))
    assert fast.per_s == pytest.approx(50 * GIGA)
    (idle,) = rows(layer("conv", 20 * floor_ms, "r"))
    assert (idle.bound, idle.utilization) == ("overhead", pytest.approx(0.05))
    _, pool = rows(layer("conv", 1.0, "r"), layer("pool", 0.01, "mean"))
    assert pool.bound == "memory"
    near = PEAKS.holds["L1"]  # as much of it as fits
    assert pool.utilization == pytest.approx((near / (200 * GIGA) + (MAP + 4 * 16 - near) / (10 * GIGA)) / 1e-5)
    (other,) = rows(layer("reorder", 0.01))
    assert (other.operations, other.bytes, other.utilization, other.bound) == (0, 0, None, "unknown")


def test_weights_share_the_caches_with_those_of_the_whole_network() -> None:
    """A small layer of a large network reads most of its weights from memory, a small activation is still near."""
    weights = {"w": np.ones((64, 64), np.float32), "v": np.ones((64, 1000), np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="a"),
        helper.make_node("MatMul", ["h", "v"], ["y"], name="b"),
    ]
    made = OnnxModel(model(nodes, {"x": ("N", 64)}, {"y": ("N", 1000)}, weights))
    first, _ = roofline([layer("a", 0.002, "a"), layer("b", 0.1, "b")], made, PEAKS).layers
    near = PEAKS.holds["L1"] / (4 * 64 * 1064)
    weights_s = 4 * 64 * 64 * (near / PEAKS.read["L1"] + (1 - near) / PEAKS.read["memory"])
    floor_s = weights_s + 4 * 128 / PEAKS.read["L1"]
    assert first.utilization == pytest.approx(floor_s / 2e-6)
    assert first.bound == "memory"


def test_above_the_peak_is_told() -> None:
    (found,) = rows(layer("conv", 0.5 * 2 * MACS / PEAKS.operations["f32"] * 1e3, "r"))
    assert found.utilization == pytest.approx(2.0)


def test_what_cannot_be_known_is_not_a_number() -> None:
    """No peak of this precision; and a layer so short that the engine's clock shows nothing."""
    (odd,) = rows(layer("conv", 1.0, "r", precision="f16"))
    assert (odd.operations, odd.utilization, odd.bound) == (2 * MACS, None, "unknown")
    short, _ = rows(layer("conv", 0.0, "r"), layer("pool", 1.0, "mean"))
    assert (short.operations, short.per_s, short.bytes_per_s, short.utilization) == (2 * MACS, None, None, None)
    assert short.to_json()["bound"] == "unknown"


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("int8", [False, True])
def test_an_engine_accounts_for_all_of_the_work(name: str, int8: bool) -> None:
    """Every product of the file belongs to a layer with a time, and the layers add up to the call."""
    from hasten.measure.peaks import network, operations

    made = OnnxModel(network("convolution", int8))
    with find.engine(name)(threads=1).compile(made) as session:
        kept = session.compiled.profile({"x": np.ones((1, 256, 14, 14), np.float32)}, 10)
    assert kept is not None
    layers = [asdict(one) | {"ms": ms} for one, ms in kept.spent]
    found = roofline(layers, made, PEAKS)
    assert found.uncounted == ()
    assert sum(r.operations for r in found.layers) == operations("convolution")
    assert {r.precision for r in found.layers if r.operations} == {"i8" if int8 else "f32"}
    assert 0.5 * kept.call_ms < sum(r.ms for r in found.layers) < 1.2 * kept.call_ms


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("named", ["named", "nameless", "numbered"])
def test_layers_of_real_engines_have_their_nodes(name: str, named: str) -> None:
    """Blocked layouts rename nodes and put reorders between them: the work stays with the layers that do it."""
    proto = net()
    for place, node in enumerate(proto.graph.node):
        node.name = {"named": node.name, "nameless": "", "numbered": f"{node.op_type}_{place}"}[named]
    made = OnnxModel(proto)
    with find.engine(name)(threads=1).compile(made) as session:
        kept = session.compiled.profile({"x": np.ones((1, 8, 32, 32), np.float32)}, 5)
    assert kept is not None
    layers = [asdict(one) | {"ms": ms} for one, ms in kept.spent]
    found = roofline(layers, made, PEAKS)
    assert found.uncounted == ()
    (conv,) = (r for r in found.layers if "Conv" in r.ops)
    assert "conv" in conv.op.lower()
    assert conv.ops == ("Conv", "Relu")
    assert conv.bytes == INPUT + FILTERS + MAP
