"""ONNX Runtime: its options, and that the layers it lists are the ones it executes."""

import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.message import EncodeError
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from hasten.engine import Layer
from hasten.engines._source import source
from hasten.engines.onnxruntime import OnnxRuntime
from hasten.errors import InputError
from hasten.measure import machine
from hasten.model import OnnxFile, OnnxModel, Signature

RNG = np.random.default_rng(0)


def weight(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def network(path: Path, unused: bool = False) -> Path:
    """conv, relu, depthwise conv, pool, gemm, then a matrix product of two activations: one of each kind."""
    weights = {"w1": weight(16, 3, 3, 3), "w2": weight(16, 1, 3, 3), "w3": weight(16, 32), "w4": weight(32, 32)}
    weights |= {"unused": weight(2)} if unused else {}
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], "conv", pads=[1] * 4), node("Relu", ["c1"], ["r1"], "relu"),
        node("Conv", ["r1", "w2"], ["c2"], "depthwise", pads=[1] * 4, group=16),
        node("GlobalAveragePool", ["c2"], ["p"], "pool"), node("Flatten", ["p"], ["f"], "flatten"),
        node("Gemm", ["f", "w3"], ["g"], "gemm"), node("MatMul", ["g", "w4"], ["m"], "product"),
        node("Transpose", ["m"], ["t"], "turn", perm=[1, 0]), node("MatMul", ["t", "m"], ["y"], "square"),
    ]  # fmt: skip
    sides = (
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [32, 32])],
    )
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "g", *sides, stored), opset_imports=opsets, ir_version=9), path
    )
    return path


class Reader(CalibrationDataReader):
    def __init__(self) -> None:
        self.feeds = iter([{"x": RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)} for _ in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def static(source: Path, target: Path) -> None:
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(source, target, Reader(), quant_format=QuantFormat.QDQ, **kinds)


def nncf_static(source: Path, target: Path) -> None:
    import nncf

    nncf.set_log_level(logging.ERROR)
    onnx.save(nncf.quantize(onnx.load(source), nncf.Dataset(list(Reader().feeds))), target)


def packed(level: int) -> Callable[[Path, Path], None]:
    def quantize(source: Path, target: Path) -> None:
        quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=16, accuracy_level=level)
        quantizer.process()
        quantizer.model.save_model_to_file(str(target))

    return quantize


def half(source: Path, target: Path) -> None:
    model = onnx.load(source)
    for value in model.graph.initializer:
        value.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(value).astype(np.float16), value.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, target)


def heavy(path: Path) -> list[tuple[str, str]]:
    with OnnxRuntime(threads=1).compile(OnnxModel.load(path)) as session:
        return sorted((layer.op, layer.precision) for layer in session.compiled.layers() if layer.heavy)


CONVS, CONV_I8 = [("Conv", "f32")] * 2, [("QLinearConv", "i8")]


@pytest.mark.parametrize(
    ("quantize", "expected"),
    [
        (static, [("QGemm", "i8"), *[("QLinearConv", "i8")] * 2, *[("QLinearMatMul", "i8")] * 2]),
        (
            quantize_dynamic,
            [*[("ConvInteger", "i8")] * 2, *[("DynamicQuantizeMatMul", "i8")] * 2, ("FusedMatMul", "f32")],
        ),
        (packed(0), [*CONVS, ("FusedMatMul", "f32"), ("Gemm", "f32"), ("MatMulNBits", "f32")]),
        (packed(4), [*CONVS, ("FusedMatMul", "f32"), ("Gemm", "f32"), ("MatMulNBits", "i8")]),
        (half, [*CONVS, ("FusedMatMul", "f32"), ("Gemm", "f32"), ("MatMul", "f32")]),
        (
            nncf_static,
            [
                ("FusedConv", "f32"),
                ("Gemm", "f32"),
                ("MatMul", "f32"),
                ("MatMulIntegerToFloat", "i8"),
                ("QLinearConv", "i8"),
            ],
        ),
    ],
    ids=["static", "dynamic", "packed", "packed, products in bytes", "half", "nncf"],
)
def test_layers_of_real_files(
    quantize: Callable[[Path, Path], None], expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    quantize(network(tmp_path / "f32.onnx"), tmp_path / "made.onnx")
    assert heavy(tmp_path / "made.onnx") == expected


def test_packed_weights_multiply_bytes_only_where_told(tmp_path: Path) -> None:
    """What the names say is seen in the numbers: rounding activations to bytes changes the answer."""
    x, answers = {"x": RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)}, []
    for level in (0, 4):
        packed(level)(network(tmp_path / "f32.onnx"), tmp_path / f"{level}.onnx")
    weights = onnx.load(tmp_path / "0.onnx").graph.initializer
    four = onnx.load(tmp_path / "4.onnx")
    del four.graph.initializer[:]
    four.graph.initializer.extend(weights)
    for model in (OnnxModel.load(tmp_path / "0.onnx"), OnnxModel(four)):
        with OnnxRuntime(threads=1).compile(model) as session:
            answers.append(session(x)["y"])
    assert 1e-4 < np.abs(answers[0] - answers[1]).max() / np.abs(answers[0]).max() < 0.1


def test_layers_are_those_that_a_profile_sees(tmp_path: Path) -> None:
    static(network(tmp_path / "f32.onnx"), tmp_path / "made.onnx")
    model = OnnxModel.load(tmp_path / "made.onnx")
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    live = onnxruntime.InferenceSession(model.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    live.run(None, {"x": np.zeros((1, 3, 8, 8), np.float32)})
    events = json.loads(Path(live.end_profiling()).read_text())
    ran = Counter(e["args"]["op_name"] for e in events if e.get("name", "").endswith("_kernel_time"))
    with OnnxRuntime().compile(model) as session:
        assert Counter(layer.op for layer in session.compiled.layers()) == ran


def test_layers_inside_a_branch_are_listed() -> None:
    """The product in a branch sees values from around it."""
    node, value = helper.make_node, helper.make_tensor_value_info
    square = [value("s", TensorProto.DOUBLE, [4, 4])]
    then = helper.make_graph([node("MatMul", ["x", "x"], ["s"], "inner")], "then", [], square)
    other = helper.make_graph([node("Neg", ["x"], ["s"], "negative")], "other", [], square)
    graph = helper.make_graph(
        [node("ReduceSum", ["x"], ["total"], keepdims=0), node("Cast", ["total"], ["which"], to=TensorProto.BOOL),
         node("If", ["which"], ["y"], then_branch=then, else_branch=other)],
        "g", [value("x", TensorProto.DOUBLE, [4, 4])], [value("y", TensorProto.DOUBLE, [4, 4])],
    )  # fmt: skip
    model = OnnxModel(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    with OnnxRuntime().compile(model) as session:
        assert [x for x in session.compiled.layers() if x.heavy] == [
            Layer("inner", "MatMul", "f64", True, of=("inner", "s"))
        ]


def test_threads_are_explicit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OnnxRuntime(threads=2).compile(OnnxModel.load(network(tmp_path / "a.onnx"))) as session:
        options = session.compiled._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    monkeypatch.setattr(machine, "threads", lambda: 3)
    with OnnxRuntime().compile(OnnxModel.load(tmp_path / "a.onnx")) as session:
        assert session.compiled._session.get_session_options().intra_op_num_threads == 3


def test_warnings_are_silent_and_nothing_is_left_on_disk(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unused weight makes it warn, and so does writing down the executed graph."""
    model = OnnxModel.load(network(tmp_path / "a.onnx", unused=True))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with OnnxRuntime().compile(model) as session:
        assert session.compiled.layers()
    assert capfd.readouterr() == ("", "")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_file_with_weights_beside_it_is_read_from_its_path(tmp_path: Path) -> None:
    model = OnnxModel.load(network(tmp_path / "a.onnx"))
    onnx.save(model.proto, tmp_path / "b.onnx", save_as_external_data=True, location="b.data", size_threshold=0)
    whole, x = OnnxModel.load(tmp_path / "a.onnx"), {"x": np.ones((1, 3, 8, 8), np.float32)}
    with (
        OnnxRuntime().compile(OnnxFile(tmp_path / "b.onnx", whole.signature)) as split,
        OnnxRuntime().compile(whole) as one,
    ):
        np.testing.assert_array_equal(split(x)["y"], one(x)["y"])
        assert split.compiled.layers() == one.compiled.layers()


class TooLarge:
    """Stands in for 2 GB of weights, which protobuf refuses to make into bytes."""

    def SerializeToString(self) -> bytes:  # noqa: N802
        raise EncodeError("Failed to serialize proto")


def test_model_over_two_gigabytes_is_read_from_its_path(tmp_path: Path) -> None:
    path = network(tmp_path / "a.onnx")
    assert source(OnnxModel(TooLarge(), path)) == path
    assert source(OnnxModel.load(path)) == path.read_bytes()
    assert source(OnnxFile(path, Signature((), ()))) == path
    for lost in (None, tmp_path / "gone.onnx"):
        with pytest.raises(InputError, match="larger than 2 GB"):
            source(OnnxModel(TooLarge(), lost))
