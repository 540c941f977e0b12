"""The rules of the DLA, each at its edge; and how much of a network that is, with every change of processor counted."""

import numpy as np
import onnx
import pytest
from graphs import model
from onnx import TensorProto, helper
from test_support import cut

from hasten.diagnose.support import Support, check, target_named
from hasten.diagnose.targets import _dla_rules
from hasten.diagnose.targets.dla import rules
from hasten.model import OnnxModel
from single_ops import IMAGE, models, one

MODELS = models()


def conv(kernel: int = 3, pads: int = 1, **settings: object) -> OnnxModel:
    side = 16 + 2 * pads - kernel + 1
    weight = np.zeros((8, 8 // int(settings.get("group", 1)), kernel, kernel), np.float32)  # type: ignore[call-overload]
    return one("Conv", [IMAGE], (1, 8, side, side), [weight], pads=[pads] * 4, **settings)


def pool(op: str, kernel: int, stride: int = 1, **settings: object) -> OnnxModel:
    side = (32 - kernel) // stride + 1
    return one(op, [(1, 4, 32, 32)], (1, 4, side, side), kernel_shape=[kernel] * 2, strides=[stride] * 2, **settings)


def elementwise(op: str, *shapes: tuple[int, ...], constant: tuple[int, ...] | None = None) -> OnnxModel:
    whole = np.broadcast_shapes(*shapes, constant or ())
    return one(op, shapes, whole, [] if constant is None else [np.ones(constant, np.float32)])


def clip(low: float, high: float) -> OnnxModel:
    return one("Clip", [IMAGE], IMAGE, [np.float32(low), np.float32(high)])


def resize(factor: float, **settings: object) -> OnnxModel:
    side = int(8 * factor)
    return one("Resize", [(1, 4, 8, 8)], (1, 4, side, side), [None, np.float32([1, 1, factor, factor])], **settings)


NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
TAKEN = {
    "conv": conv(),
    "conv of groups": conv(group=8),
    "conv, half": MODELS["conv-half"],
    "deconvolution": MODELS["transposed"],
    "gemm": MODELS["gemm"],
    "relu": MODELS["relu"],
    "relu6": clip(0, 6),
    "silu's product": elementwise("Mul", IMAGE, IMAGE),
    "squeeze and excite": elementwise("Mul", IMAGE, (1, 8, 1, 1)),
    "per channel": elementwise("Add", IMAGE, constant=(8, 1, 1)),
    "per element": elementwise("Add", IMAGE, constant=(8, 16, 16)),
    "window of 8": pool("MaxPool", 8),
    "average": pool("AveragePool", 2, 2),
    "batch norm": MODELS["batch-norm"],
    "lrn": MODELS["lrn"],
    "concat": MODELS["concat"],
    "nearest": resize(32, **NEAREST),
    "linear": resize(4, mode="linear"),
    "prelu": MODELS["prelu"],
    "flatten": one("Flatten", [IMAGE], (1, 2048)),
    "slice": one("Slice", [IMAGE], (1, 4, 16, 16), [np.array([v], np.int64) for v in (0, 4, 1)]),
    "softmax": one("Softmax", [(1, 10)], (1, 10), axis=1),
    "global max": one("GlobalMaxPool", [IMAGE], (1, 8, 1, 1)),
    "abs": MODELS["abs"],
}
NOT_TAKEN = {
    "kernel of 33": (one("Conv", [(1, 1, 40, 40)], (1, 1, 8, 8), [np.zeros((1, 1, 33, 33), np.float32)]), "kernel"),
    "padding as large as the kernel": (conv(3, 3), "not less than its kernel"),
    "dilation of 33": (conv(1, 0, dilations=[33, 33]), "dilation"),
    "conv of one axis": (MODELS["conv-1d"], "3 axes"),
    "conv of three axes": (MODELS["conv-3d"], "5 axes"),
    "double": (MODELS["conv-double"], "float64"),
    "padded deconvolution": (
        one("ConvTranspose", [(1, 4, 4, 4)], (1, 2, 8, 8), [np.zeros((4, 2, 4, 4), np.float32)], strides=[2, 2],
            pads=[1] * 4), "padding"),
    "grouped deconvolution": (
        one("ConvTranspose", [(1, 4, 4, 4)], (1, 4, 5, 5), [np.zeros((4, 1, 2, 2), np.float32)], group=4), "groups"),
    "window of 9": (pool("MaxPool", 9), "kernel"),
    "stride of 17": (pool("MaxPool", 8, 17), "stride"),
    "clip from -1": (clip(-1, 1), "of Clip only"),
    "clip to 128": (clip(0, 128), "of Clip only"),
    "spatial attention": (elementwise("Mul", IMAGE, (1, 1, 16, 16)), "not spread"),
    "product of two": (MODELS["matmul"], "3 axes"),
    "mean": (MODELS["global-average"], "only Max"),
    "division": (elementwise("Div", IMAGE, constant=(1,)), "INT8"),
    "hardswish": (MODELS["hardswish"], "HardSigmoid"),
    "gelu": (MODELS["gelu"], "not among"),
    "window of 4 in lrn": (one("LRN", [IMAGE], IMAGE, size=4), "window of 4"),
    "concat of rows": (one("Concat", [IMAGE, IMAGE], (1, 8, 32, 16), axis=2), "only channels"),
    "half as large": (resize(0.5, **NEAREST), "whole numbers"),
    "linear by 5": (resize(5, mode="linear"), "whole numbers"),
    "linear and asymmetric": (resize(2, mode="linear", coordinate_transformation_mode="asymmetric"), "asymmetric"),
    "cubic": (MODELS["resize-cubic"], "cubic"),
    "batch of 4097": (one("Relu", [(4097, 1, 1, 1)], (4097, 1, 1, 1)), "batch of 4097"),
    "axis of 8193": (one("Relu", [(1, 1, 1, 8193)], (1, 1, 1, 8193)), "axis of 8193"),
    "batch moved": (one("Transpose", [(2, 3, 4, 5)], (3, 2, 4, 5), perm=[1, 0, 2, 3]), "moves the batch"),
    "softmax over the batch": (one("Softmax", [(4, 4)], (4, 4), axis=0), "over the batch"),
    "quantize": (MODELS["quantize"], "Q and DQ"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str) -> None:
    (told,) = target_named("dla")().told([cut(TAKEN[name])])
    assert told.word == "native", told.why


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_not_taken(name: str) -> None:
    single, why = cut(NOT_TAKEN[name][0]), NOT_TAKEN[name][1]
    (told,) = target_named("dla")().told([single])
    assert told.word == "falls back"
    assert told.why.startswith("on the GPU: ")
    assert why in told.why


def test_every_kind_of_layer_has_a_rule_and_a_version() -> None:
    assert set(rules()["layer"]) == set(_dla_rules.RULES)
    assert "TensorRT" in rules()["source"]["version"]
    ops = [op for limits in rules()["layer"].values() for op in limits["ops"]]
    assert len(ops) == len(set(ops))
    assert not set(ops) & set(rules()["not"])
    assert all(onnx.defs.has(op) for op in (*ops, *rules()["not"]))


def network(*ops: str, batch: int | str = 1) -> Support:
    """A chain of these operators on [N, 8, 16, 16]."""
    weights = {"w": np.zeros((8, 8, 3, 3), np.float32)}
    nodes = []
    for i, op in enumerate(ops):
        values = [f"v{i}", "w"] if op == "Conv" else [f"v{i}"]
        more = {"pads": [1] * 4} if op == "Conv" else {"to": TensorProto.FLOAT} if op == "Cast" else {}
        nodes.append(helper.make_node(op, values, [f"v{i + 1}"], name=f"{op}{i}", **more))
    shape = (batch, 8, 16, 16)
    used = weights if "Conv" in ops else {}
    made = OnnxModel(model(nodes, {"v0": shape}, {f"v{len(ops)}": shape}, used, opset=20))
    return check(made, "dla", {"v0": np.zeros((1, 8, 16, 16), np.float32)})


def test_changes_of_processor_and_stretches_are_counted() -> None:
    found = network("Conv", "Relu", "Gelu", "Conv", "Relu")
    assert [row.word for row in found.rows] == ["native", "native", "falls back", "native", "native"]
    assert found.figures == {"nodes": 5, "nodes_share": 0.8, "macs_share": 1.0, "switches": 2, "loadables": 2}
    assert found.accepted
    assert not found.native
    assert found.estimate


def test_what_is_folded_away_runs_on_neither() -> None:
    found = network("Conv", "Identity", "Cast", "Relu")
    assert found.native
    assert found.figures["nodes"] == 2
    assert found.figures["switches"] == 0


def test_branches_of_one_stretch_are_one_loadable() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Sigmoid", ["x"], ["b"]),
        helper.make_node("Mul", ["a", "b"], ["c"]),
        helper.make_node("Erf", ["c"], ["d"]),
        helper.make_node("Tanh", ["x"], ["e"]),
        helper.make_node("Add", ["d", "e"], ["y"]),
    ]
    made = OnnxModel(model(nodes, {"x": (1, 2, 4, 4)}, {"y": (1, 2, 4, 4)}, {}))
    figures = check(made, "dla", {"x": np.zeros((1, 2, 4, 4), np.float32)}).figures
    assert (figures["switches"], figures["loadables"]) == (2, 3)  # Tanh hangs together with neither of the others


def test_free_axes_and_too_many_stretches_are_remarked() -> None:
    found = network(*["Relu", "Erf"] * 17, batch="N")
    assert found.figures["loadables"] == 17
    assert [remark.split(":")[0] for remark in found.remarks] == [
        "the DLA takes no free axes",
        "17 stretches are more than the 16 that a core holds at a time",
    ]


def test_the_share_of_arithmetic_is_that_of_the_layers_it_takes() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node("Conv", ["a", "v"], ["y"], pads=[3] * 4),
    ]
    weights = {"w": np.zeros((4, 4, 3, 3), np.float32), "v": np.zeros((4, 4, 3, 3), np.float32)}
    made = OnnxModel(model(nodes, {"x": (1, 4, 4, 4)}, {"y": (1, 4, 8, 8)}, weights))
    found = check(made, "dla", {"x": np.zeros((1, 4, 4, 4), np.float32)})
    assert [row.word for row in found.rows] == ["native", "falls back"]  # the second has more padding than kernel
    assert found.figures["macs_share"] == pytest.approx(16 / (16 + 64))
