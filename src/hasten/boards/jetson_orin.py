"""Jetson AGX Orin, Orin NX and Orin Nano: JetPack 6, TensorRT 10.3; two DLAs, one on the NX 8 GB, none on the Nano."""

from dataclasses import dataclass
from typing import ClassVar

from hasten.boards._board import Board


@dataclass(frozen=True)
class JetsonOrin(Board):
    """One strongly typed file for the GPU of TensorRT 10 and 11; the DLA of TensorRT 10 reads a calibration cache.

    JetPack 7.2.2 brings TensorRT 11.4.1, whose trtexec has no --fp16, --int8 and --calib, and whose DLA (AGX Orin only)
    reads Q and DQ: the script builds model-int8.onnx for it where trtexec is of that version.
    """

    title: ClassVar[str] = "Jetson AGX Orin, Orin NX, Orin Nano"
    reads: ClassVar[str] = "JetPack 6 with TensorRT 10.3, or JetPack 7.2.2 with TensorRT 11.4.1"
    tensorrt: ClassVar[str] = "100300"
    opset: ClassVar[int] = 20
    ir_version: ClassVar[int] = 10
    dla: ClassVar[int] = 2
    floats: ClassVar[str] = "--fp16"
    int8: ClassVar[str] = "--stronglyTyped"
