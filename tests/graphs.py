"""Small networks written node by node: nothing here needs torch."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def network(batch: int | str = "N", opset: int = 17) -> onnx.ModelProto:
    """`image` f32 [batch, 1, 8, 8] -> two outputs: `scores` f32 [batch, 4] and `best` i64 [batch]."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(0, 0.5, (8, 1, 3, 3)),
        "w2": rng.normal(0, 0.1, (4, 512)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "w2"], ["scores"], transB=1),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
    ]
    return model(
        nodes,
        {"image": (batch, 1, 8, 8)},
        {"scores": (batch, 4)},
        {k: v.astype(np.float32) for k, v in weights.items()},
        {"best": (batch,)},
        opset,
    )


def model(nodes, inputs, outputs, weights, integers=(), opset=17) -> onnx.ModelProto:
    """A checked model: names to shapes (f32, `integers` i64 outputs) and to weight arrays."""

    def values(shapes, kind):
        return [helper.make_tensor_value_info(name, kind, shape) for name, shape in dict(shapes).items()]

    graph = helper.make_graph(
        nodes,
        "net",
        values(inputs, TensorProto.FLOAT),
        values(outputs, TensorProto.FLOAT) + values(integers, TensorProto.INT64),
        [numpy_helper.from_array(a, name) for name, a in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(made)
    return made
