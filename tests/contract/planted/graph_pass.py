"""Weights rounded towards zero."""

from dataclasses import dataclass

import numpy as np

from hasten.model import OnnxModel
from hasten.technique import Technique


@dataclass(frozen=True)
class Rounded(Technique):
    """Float32 weights lose the last bits of their mantissa.

    Settings:
        bits: so many of the 24 are kept.
    """

    bits: int = 12

    def apply(self, model, task):
        import onnx

        made = onnx.ModelProto()
        made.CopyFrom(model.proto)
        for weight in made.graph.initializer:
            if weight.data_type == onnx.TensorProto.FLOAT:
                part, exponent = np.frexp(onnx.numpy_helper.to_array(weight))
                kept = np.ldexp(np.trunc(part * 2**self.bits) / 2**self.bits, exponent)
                weight.CopyFrom(onnx.numpy_helper.from_array(kept.astype(np.float32), weight.name))
        return OnnxModel(made)
