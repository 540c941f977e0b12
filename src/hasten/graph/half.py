"""half: weights stored as 16-bit floats, computed with as before; the file is half the size."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hasten.errors import NotApplicable
from hasten.model import Model, OnnxModel
from hasten.provenance import nodes
from hasten.technique import Technique

if TYPE_CHECKING:
    import onnx

    from hasten.task import Task

_LARGEST = float(np.finfo(np.float16).max)
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear"})  # their scales have to stay constants in f32


@dataclass(frozen=True)
class Half(Technique):
    """Each float32 weight becomes a float16 one (IEEE 754 binary16) and a Cast in front of where it is used.

    Inputs, outputs and arithmetic stay float32: CPUs lack fast float16, and engines fold the Cast when they load the
    file. So this saves disk and download, not time; each weight loses up to 0.05 % of its value. Vectors (biases,
    batch norm, scales of Q and DQ) and weights beyond ±65504 stay as they are.

    Settings:
        min_elements: a weight with fewer stays, since the Cast costs more bytes than it saves.
    """

    min_elements: int = 256

    def apply(self, model: Model, task: "Task") -> OnnxModel:
        """
        Raises:
            NotApplicable: no weight to halve.
        """
        import onnx

        assert isinstance(model, OnnxModel)
        made = onnx.ModelProto()
        made.CopyFrom(model.proto)
        graph = made.graph
        kept = {t for n in nodes(graph) if n.op_type in _QUANTIZED for t in n.input} | {o.name for o in graph.output}
        kept |= {i.name for i in graph.input}
        casts = [self._halved(w) for w in graph.initializer if w.name not in kept and self._fits(w)]
        if not casts:
            raise NotApplicable(f"{self} has nothing to do: no float32 weight of {self.min_elements} elements or more")
        rest = list(graph.node)
        del graph.node[:]
        graph.node.extend([*casts, *rest])
        return OnnxModel(made)

    def _fits(self, weight: "onnx.TensorProto") -> bool:
        import onnx

        if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            return False
        values = onnx.numpy_helper.to_array(weight)
        return values.size >= self.min_elements and bool(np.abs(values).max() <= _LARGEST)

    def _halved(self, weight: "onnx.TensorProto") -> "onnx.NodeProto":
        """Halve in place; the Cast that gives the old tensor under its old name."""
        import onnx

        name, values = weight.name, onnx.numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}.f16"))
        return onnx.helper.make_node("Cast", [weight.name], [name], name=f"{name}.cast", to=onnx.TensorProto.FLOAT)
