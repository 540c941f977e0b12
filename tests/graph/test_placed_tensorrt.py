"""placed, for TensorRT: no rule of the lint is broken, TensorRT-RTX builds it, and it answers as before."""

import numpy as np
import onnx
import pytest
from test_placed import Attention, Residual, made
from torch import nn

from hasten.engines import _rtx
from hasten.find import engine
from hasten.graph.lint import lint
from hasten.graph.quantize import Quantize

STEP = Quantize(method="placed", engine="tensorrt")


@pytest.mark.parametrize("kind", [Residual, Attention])
def test_it_passes_the_lint_and_answers_as_before(kind: type[nn.Module]) -> None:
    task, before = made(kind)
    after = STEP(before, task)
    assert lint(after) == ()
    feed = next(task.split("validate").batches(64))
    with engine("onnxruntime")(threads=1).compile(after) as int8, engine("onnxruntime")().compile(before) as plain:
        right = plain(feed)["output"]
        assert np.abs(int8(feed)["output"] - right).max() < 0.08 * np.abs(right).max()


@pytest.mark.skipif(_rtx.missing() is not None, reason=str(_rtx.missing()))
@pytest.mark.parametrize("kind", [Residual, Attention])
def test_tensorrt_rtx_builds_it(kind: type[nn.Module]) -> None:
    task, before = made(kind)
    assert engine("tensorrt_rtx")().build(STEP(before, task))


def test_a_skip_is_quantized_and_what_it_is_added_to_is_not() -> None:
    graph = STEP(made(Residual)[1], made(Residual)[0]).proto.graph
    by = {t: n.op_type for n in graph.node for t in n.output}
    (add,) = [n for n in graph.node if n.op_type == "Add"]
    assert sorted(by[i] for i in add.input) == ["Conv", "DequantizeLinear"]


def test_what_is_joined_has_one_scale_and_biases_are_floats() -> None:
    graph = STEP(made(Residual)[1], made(Residual)[0]).proto.graph
    by = {t: n for n in graph.node for t in n.output}
    (joint,) = [n for n in graph.node if n.op_type == "Concat"]
    values = {w.name: onnx.numpy_helper.to_array(w) for w in graph.initializer}
    (after,) = [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == joint.output[0]]
    scales = {float(values[by[i].input[1]]) for i in joint.input} | {float(values[after.input[1]])}
    assert len(scales) == 1
    layers = [n for n in graph.node if n.op_type in ("Conv", "Gemm")]
    assert all(values[n.input[2]].dtype == np.float32 for n in layers)
    kinds = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.INT64
    assert {w.data_type for w in graph.initializer} <= set(kinds)


def test_activations_that_are_never_negative_are_signed_too() -> None:
    """Half the steps are not used: it is what TensorRT reads."""
    task, before = made(Residual)
    values = {w.name: onnx.numpy_helper.to_array(w) for w in STEP(before, task).proto.graph.initializer}
    zeros = [v for name, v in values.items() if name.endswith(".zero")]
    assert zeros
    assert all(z.dtype == np.int8 and not z.any() for z in zeros)
