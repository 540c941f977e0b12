"""MACs against torch's own counter, which counts 2 FLOPs for each, and bytes against the sums of small cases."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import model
from onnx import helper

from hasten.measure.flops import NOTHING, RULES, count
from hasten.model import OnnxModel


def counted(nodes, inputs, outputs, weights=(), **settings) -> int:
    """Of a graph in which everything must have a rule."""
    made = {name: np.zeros(shape, np.float32) for name, shape in dict(weights).items()}
    found = count(OnnxModel(model(nodes, inputs, outputs, made, **settings)))
    assert found.unknown == ()
    return found.macs


def flops(call, *shapes) -> int:
    """By torch's counter, of a call on zeros."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call(*(torch.zeros(shape) for shape in shapes))
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("filters", "settings"),
    [
        ((16, 8, 3, 3), {}),
        ((16, 8, 3, 5), {"strides": [2, 1], "pads": [1, 2, 1, 2]}),
        ((16, 2, 3, 3), {"group": 4}),
        ((8, 1, 3, 3), {"group": 8, "pads": [1, 1, 1, 1]}),
        ((16, 8, 3, 3), {"dilations": [2, 3]}),
    ],
    ids=["plain", "strided", "grouped", "depthwise", "dilated"],
)
def test_conv_is_as_torch_counts_it(filters: tuple, settings: dict):
    import torch

    node = helper.make_node("Conv", ["x", "w"], ["y"], **settings)
    torch_settings = {"stride": settings.get("strides", 1), "dilation": settings.get("dilations", 1)}
    torch_settings |= {"padding": settings.get("pads", [0])[: len(settings.get("pads", [0])) // 2 or 1]}
    expected = flops(
        lambda x, w: torch.nn.functional.conv2d(x, w, groups=settings.get("group", 1), **torch_settings),
        (1, 8, 20, 24),
        filters,
    )
    assert 2 * counted([node], {"x": ("N", 8, 20, 24)}, {"y": ("N", "c", "h", "w")}, {"w": filters}) == expected > 0


def test_transposed_conv_is_as_torch_counts_it():
    import torch

    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], group=2)
    expected = flops(
        lambda x, w: torch.nn.functional.conv_transpose2d(x, w, stride=2, groups=2), (1, 8, 9, 7), (8, 3, 3, 3)
    )
    assert 2 * counted([node], {"x": ("N", 8, 9, 7)}, {"y": ("N", "c", "h", "w")}, {"w": (8, 3, 3, 3)}) == expected > 0


@pytest.mark.parametrize(("turned", "filters"), [(1, (10, 64)), (0, (64, 10))])
def test_linear_is_as_torch_counts_it(turned: int, filters: tuple):
    import torch

    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=turned)
    expected = flops(torch.nn.functional.linear, (1, 64), (10, 64))
    assert 2 * counted([node], {"x": ("N", 64)}, {"y": ("N", 10)}, {"w": filters}) == expected > 0


def test_gemm_of_a_turned_left_operand():
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("Gemm", ["t", "w"], ["y"], transA=1),
    ]
    assert counted(nodes, {"x": ("N", 6)}, {"y": ("N", 5)}, {"w": (6, 5)}) == 6 * 5


def test_the_products_of_attention_are_as_torch_counts_them():
    heads, length, width = 4, 10, 16
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "kt"], ["s"]),
        helper.make_node("Softmax", ["s"], ["p"]),
        helper.make_node("MatMul", ["p", "v"], ["y"]),
    ]
    shape = ("N", heads, length, width)
    expected = flops(lambda q, k, v: (q @ k.transpose(2, 3)).softmax(-1) @ v, *[(1, heads, length, width)] * 3)
    assert 2 * counted(nodes, dict.fromkeys("qkv", shape), {"y": shape}) == expected > 0


def test_attention_as_one_operator_counts_like_its_products():
    heads, length, others, width = 4, 10, 12, 16
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"])
    shapes = {"q": ("N", heads, length, width), "k": ("N", heads, others, width), "v": ("N", heads, others, 8)}
    found = counted([node], shapes, {"y": ("N", heads, length, 8)}, opset=23)
    assert found == heads * length * others * (width + 8)


@pytest.mark.parametrize(
    ("equation", "left", "right", "made", "expected"),
    [
        ("bij,bjk->bik", ("N", 3, 4), ("N", 4, 5), ("N", 3, 5), 3 * 4 * 5),
        ("...ij,...jk->...ik", ("N", 2, 3, 4), ("N", 2, 4, 5), ("N", 2, 3, 5), 2 * 3 * 4 * 5),
        ("bhid,bhjd->bhij", ("N", 2, 3, 4), ("N", 2, 5, 4), ("N", 2, 3, 5), 2 * 3 * 4 * 5),
    ],
)
def test_einsum(equation: str, left: tuple, right: tuple, made: tuple, expected: int):
    node = helper.make_node("Einsum", ["a", "b"], ["y"], equation=equation)
    assert counted([node], {"a": left, "b": right}, {"y": made}) == expected


def test_einsum_of_one_operand_multiplies_nothing():
    node = helper.make_node("Einsum", ["a"], ["y"], equation="bij->bji")
    assert counted([node], {"a": ("N", 3, 4)}, {"y": ("N", 4, 3)}) == 0


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers(op: str, gates: int):
    steps, given, hidden = 7, 5, 6
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node(op, ["t", "w", "r"], ["y"], hidden_size=hidden, direction="bidirectional"),
    ]
    weights = {"w": (2, gates * hidden, given), "r": (2, gates * hidden, hidden)}
    found = counted(nodes, {"x": ("N", steps, given)}, {"y": (steps, 2, "N", hidden)}, weights)
    assert found == steps * 2 * gates * hidden * (given + hidden)


def test_integer_products_count_like_float_ones():
    """QLinearConv and MatMulInteger, as quantizers write them in operator form."""
    weights = {
        "w": np.zeros((16, 8, 3, 3), np.int8), "s": np.float32(1), "z": np.int8(0), "m": np.zeros((196, 5), np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearConv", ["q", "s", "z", "w", "s", "z", "s", "z"], ["c"]),
        helper.make_node("ConvInteger", ["q", "w"], ["i"]),
        helper.make_node("Flatten", ["c"], ["f"], axis=2),
        helper.make_node("MatMulInteger", ["f", "m"], ["p"]),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["d"]),
        helper.make_node("Cast", ["p"], ["y"], to=1),
        helper.make_node("Cast", ["i"], ["k"], to=1),
    ]
    made = model(
        nodes, {"x": ("N", 8, 16, 16)}, {"y": ("N", 5), "k": ("N", 16, 14, 14), "d": ("N", 16, 14, 14)}, weights
    )
    assert count(OnnxModel(made)).macs == 2 * 16 * 14 * 14 * 8 * 9 + 16 * 196 * 5


def test_a_quantized_graph_counts_like_the_float_one(net: Path, feed: Path, tmp_path: Path):
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"image": np.load(feed / "image.npy")[:4]}]

        def get_next(self):
            return self.left.pop() if self.left else None

    quantize_static(net, tmp_path / "int8.onnx", Reader())
    before, after = count(OnnxModel.load(net)), count(OnnxModel.load(tmp_path / "int8.onnx"))
    assert "QuantizeLinear" in {n.op_type for n in OnnxModel.load(tmp_path / "int8.onnx").proto.graph.node}
    assert before == after
    assert before.macs == 8 * 64 * 9 + 512 * 4


def test_the_fashion_net_is_as_torch_counts_it():
    """123,860,736: exported whole, batch norms and all."""
    import torch

    from hasten.data import Data
    from hasten.export import export
    from hasten.model import TorchModel

    images = np.zeros((4, 1, 28, 28), np.float32)
    net = fashion_net()
    exported = export(TorchModel.of(net, {"image": images}), Data({"image": images}))
    with torch.inference_mode():
        expected = flops(net, (1, 1, 28, 28))
    found = count(exported.model)
    assert found.unknown == ()
    assert 2 * found.macs == expected == 2 * 123_860_736


def fashion_net():
    path = Path(__file__).parents[2] / "examples" / "fashion" / "net.py"
    spec = importlib.util.spec_from_file_location("fashion_net_for_macs", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.FashionNet().eval()


def test_bytes_are_what_each_node_reads_and_writes():
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["y"]),
    ]
    weights = {"w": np.zeros((16, 8, 3, 3), np.float32), "b": np.zeros(16, np.float32)}
    found = count(OnnxModel(model(nodes, {"x": ("N", 8, 10, 10)}, {"y": ("N", 1024)}, weights)))
    conv, relu = found.work  # a view moves nothing
    assert (conv.node, conv.op, conv.macs) == ("conv", "Conv", found.macs)
    assert conv.weights == found.weights == 4 * (16 * 8 * 9 + 16)
    assert (conv.moved, relu.moved) == (4 * (800 + 1024), 4 * 2 * 1024)
    assert conv.intensity == pytest.approx(2 * conv.macs / (conv.weights + conv.moved))
    assert (found.flops, found.integer_operations) == (2 * found.macs, 0)


def test_what_stands_between_q_and_dq_moves_8_bits():
    weights = {"w": np.zeros((64, 10), np.int8), "s": np.float32(1), "z": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        helper.make_node("MatMul", ["d", "v"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "s", "z"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"]),
    ]
    found = count(OnnxModel(model(nodes, {"x": ("N", 64)}, {"y": ("N", 10)}, weights)))
    (product,) = found.work
    assert (product.weights, product.moved, product.integer) == (640, 64 + 10, True)
    assert (found.flops, found.integer_operations) == (0, 2 * 640)


def test_modules_are_the_sums_of_their_nodes():
    from hasten.data import Data
    from hasten.export import export
    from hasten.model import TorchModel

    images = np.zeros((4, 1, 28, 28), np.float32)
    found = count(export(TorchModel.of(fashion_net(), {"image": images}), Data({"image": images})).model)
    modules = found.modules()
    assert "stem.0" in modules or "stem" in modules, list(modules)
    for column in ("macs", "weights", "moved"):
        assert sum(getattr(m, column) for m in modules.values()) == getattr(found, column) > 0


def test_a_fixed_batch_is_divided_out():
    def of(batch):
        node = helper.make_node("Gemm", ["x", "w"], ["y"])
        return counted([node], {"x": (batch, 64)}, {"y": (batch, 10)}, {"w": (64, 10)})

    assert of(8) == of(1) == of("N") == 640


def test_what_has_no_rule_is_named():
    nodes = [
        helper.make_node("DFT", ["x"], ["y"], axis=1),
        helper.make_node("Invented", ["y"], ["z"], domain="custom"),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, ("N", 8, 1))], [helper.make_tensor_value_info("z", 1, None)]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("custom", 1)])
    assert count(OnnxModel(made)).unknown == ("DFT", "Invented")


def test_a_shape_that_cannot_be_told_is_named():
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"], name="late"),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", 1, ("N", 8)), helper.make_tensor_value_info("shape", 7, (2,))],
        [helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(np.zeros((8, 2), np.float32), "w")],
    )  # fmt: skip
    assert count(OnnxModel(helper.make_model(graph))).unknown[-1] == "MatMul late"


def test_a_free_axis_that_is_not_the_batch_is_named():
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    made = model([node], {"x": ("N", "length", 8)}, {"y": ("N", "length", 4)}, {"w": np.zeros((8, 4), np.float32)})
    found = count(OnnxModel(made))
    assert (found.macs, found.unknown) == (32, ("free axis 'length'",))


def test_the_tables_do_not_overlap_and_name_real_operators():
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert not NOTHING & set(RULES)
    assert known >= NOTHING | set(RULES)


def test_counting_does_not_change_the_model(net: Path):
    loaded = OnnxModel.load(net)
    before = loaded.digest()
    count(loaded)
    assert loaded.digest() == before
