"""The reference evaluator of the onnx package: slow, and needs nothing else."""

import dataclasses
import importlib.metadata

import numpy as np

from hasten.engine import Compiled, Engine


@dataclasses.dataclass(frozen=True)
class Reference(Engine):
    @classmethod
    def missing(cls):
        return None

    @classmethod
    def version(cls):
        return importlib.metadata.version("onnx")

    @classmethod
    def variants(cls, quantized):
        return (cls(),)

    @property
    def precision(self):
        return "f32"

    def _compile(self, model):
        return Evaluator(model)


class Evaluator(Compiled):
    def __init__(self, model):
        import onnx
        from onnx.reference import ReferenceEvaluator

        proto = onnx.load(model.path) if not hasattr(model, "proto") else model.proto
        self.names = [t.name for t in model.signature.outputs]
        self.evaluator = ReferenceEvaluator(proto)

    def run(self, feed):
        answers = self.evaluator.run(None, feed)
        return {name: np.asarray(answer) for name, answer in zip(self.names, answers, strict=True)}

    def layers(self):
        return []
