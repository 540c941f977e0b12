"""Jetson AGX Xavier and Xavier NX: JetPack 5.1, TensorRT 8.5.2, two DLAs of the first generation."""

from dataclasses import dataclass
from typing import ClassVar

from hasten.boards._board import Board


@dataclass(frozen=True)
class JetsonXavier(Board):
    """Opset 17 at most (onnx-tensorrt, release/8.5-GA, docs/operators.md). Its DLA reads INT8 from a cache."""

    title: ClassVar[str] = "Jetson AGX Xavier, Xavier NX"
    reads: ClassVar[str] = "JetPack 5.1, TensorRT 8.5.2"
    tensorrt: ClassVar[str] = "8502"
    opset: ClassVar[int] = 17
    ir_version: ClassVar[int] = 8
    dla: ClassVar[int] = 2
    floats: ClassVar[str] = "--fp16"
    int8: ClassVar[str] = "--int8 --fp16"
