"""Clipped weights: a technique that works before the export."""

import copy
import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from hasten.technique import Technique


@dataclass(frozen=True)
class Clipped(Technique):
    """Parameters of a larger size are cut off.

    Settings:
        largest: the size.
    """

    largest: float = 0.1
    takes: ClassVar[Literal["torch", "onnx"]] = "torch"

    def apply(self, model, task):
        module = copy.deepcopy(model.module)
        for parameter in module.parameters():
            parameter.data = parameter.data.clamp(-self.largest, self.largest)
        return dataclasses.replace(model, module=module)
