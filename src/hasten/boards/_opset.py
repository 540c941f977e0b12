"""A graph in an older operator set, proven to give the same numbers on ONNX Runtime."""

import math
from typing import TYPE_CHECKING

import numpy as np

from hasten.data import Data
from hasten.engine import available
from hasten.errors import InputError, MissingError
from hasten.model import OnnxModel
from hasten.provenance import nodes

if TYPE_CHECKING:
    import onnx

GELU = 20  # the opset in which it became an operator
CLOSE = 1e-5  # of the largest output: the same sums, perhaps in another order


def lowered(model: OnnxModel, opset: int, ir_version: int, data: Data) -> OnnxModel:
    """The same network for whoever reads `opset` at most.

    Args:
        data: samples on which both are compared.

    Raises:
        InputError: an operator has no older form, or the numbers differ.
        MissingError: no ONNX engine is here to compare with.
    """
    import onnx

    proto = type(model.proto)()
    proto.CopyFrom(model.proto)
    for node in proto.graph.node:  # readers of that age do not know them
        del node.metadata_props[:]
    if model.opset > opset:
        if opset < GELU:
            _spelled_out(proto)
        try:
            proto = _without_newer(onnx.version_converter.convert_version(proto, opset), opset)
            onnx.checker.check_model(proto)
        except Exception as fault:
            said = str(fault).strip().splitlines()[-1].rpartition("failed: ")[2][:200]
            raise InputError(
                f"the network cannot be written in opset {opset}: {said}", "replace that operator: hasten export --fix"
            ) from fault
    proto.ir_version = min(proto.ir_version, ir_version)
    made = OnnxModel(proto)
    difference = largest_difference(model, made, data)
    if not difference <= CLOSE:
        raise InputError(
            f"in opset {opset} the network answers otherwise, by {difference:.3g} of its largest output",
            "export it for a newer board, or report the operator to onnx",
        )
    return made


def _spelled_out(proto: "onnx.ModelProto") -> None:
    """Gelu as x / 2 * (1 + erf(x / sqrt(2))), or with its tanh, in operators of every opset."""
    import onnx

    made: list[onnx.NodeProto] = []
    constants: dict[str, float] = {}

    def number(value: float) -> str:
        name = f"gelu.{value:.9g}"
        constants[name] = value
        return name

    for node in proto.graph.node:
        if node.op_type != "Gelu":
            made.append(node)
            continue
        x, y = node.input[0], node.output[0]
        tanh = any(a.name == "approximate" and a.s == b"tanh" for a in node.attribute)
        cube = [("Mul", [x, x], "xx"), ("Mul", ["xx", x], "xxx"), ("Mul", ["xxx", number(0.044715)], "bent"),
                ("Add", [x, "bent"], "sum"), ("Mul", ["sum", number(math.sqrt(2 / math.pi))], "in"),
                ("Tanh", ["in"], "out")]  # fmt: skip
        plain = [("Mul", [x, number(math.sqrt(0.5))], "in"), ("Erf", ["in"], "out")]
        end = [("Add", ["out", number(1.0)], "share"), ("Mul", [x, number(0.5)], "half"), ("Mul", ["half", "share"], y)]
        for op, inputs, output in [*(cube if tanh else plain), *end]:
            names = [i if i == x or i in constants else f"{y}.{i}" for i in inputs]
            name = output if output == y else f"{y}.{output}"
            made.append(onnx.helper.make_node(op, names, [name], name=f"{node.name or y}.{output}"))
    del proto.graph.node[:]
    proto.graph.node.extend(made)
    for name, value in constants.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.float32), name))


def _without_newer(proto: "onnx.ModelProto", opset: int) -> "onnx.ModelProto":
    """Without attributes that the older operator does not have, where they say what it does anyway."""
    import onnx

    for node in nodes(proto.graph):
        known = onnx.defs.get_schema(node.op_type, opset, node.domain).attributes
        for attribute in [a for a in node.attribute if a.name not in known]:
            if onnx.helper.get_attribute_value(attribute) not in (0, b"", []):
                raise ValueError(f"{node.op_type} has no {attribute.name}")
            node.attribute.remove(attribute)
    return proto


def largest_difference(one: OnnxModel, other: OnnxModel, data: Data) -> float:
    """Between their outputs, as a share of each output's largest magnitude.

    Raises:
        MissingError: no ONNX engine is here.
    """
    engines = available("onnx")
    if not engines:
        raise MissingError("no ONNX engine is here to compare with", "pip install 'hasten[onnxruntime]'")
    worst, sizes = 0.0, [m.signature.fixed_batch for m in (one, other)]
    with engines[0].compile(one) as before, engines[0].compile(other) as after:
        for feed in data.batches(max(sizes)):
            rows = {name: np.resize(a, (max(sizes), *a.shape[1:])) for name, a in feed.items()}
            right, came = before(rows), after(rows)
            for name, array in right.items():
                apart = np.abs(came[name].astype(np.float64) - array).max(initial=0.0)
                worst = max(worst, float(apart / max(1e-6, float(np.abs(array).max(initial=0.0)))))
    return worst


def with_batch(proto: "onnx.ModelProto", batch: int) -> "onnx.ModelProto":
    """A copy whose calls hold so many samples: a DLA takes no free axis.

    Raises:
        InputError: another axis is free.
    """
    import onnx

    made = type(proto)()
    made.CopyFrom(proto)
    name = OnnxModel(proto).signature.batch
    for value in (*made.graph.input, *made.graph.output):
        for i, axis in enumerate(value.type.tensor_type.shape.dim):
            if not axis.HasField("dim_value"):
                if i or axis.dim_param != name:
                    raise InputError(
                        f"axis {i} of {value.name!r} is free", "export it with that axis fixed: a DLA has no free ones"
                    )
                axis.dim_value = batch
    del made.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(made)
