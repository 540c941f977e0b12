"""What an engine that takes ONNX is given to read: a path or bytes."""

from pathlib import Path

from hasten.errors import InputError
from hasten.model import OnnxFile, OnnxModel


def source(model: OnnxModel | OnnxFile) -> Path | bytes:
    """The file of an OnnxFile; the bytes of an OnnxModel, or its file where it is larger than protobuf's 2 GB.

    Raises:
        InputError: it has neither.
    """
    if isinstance(model, OnnxFile):
        return model.path
    from google.protobuf.message import EncodeError

    try:
        return bytes(model.proto.SerializeToString())
    except EncodeError as fault:
        if model.path is None or not model.path.is_file():
            raise InputError(
                "the model is larger than 2 GB, the most that fits into memory as one ONNX file",
                "load it from a file that keeps its weights beside it",
            ) from fault
        return model.path
