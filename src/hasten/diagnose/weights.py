"""What may not stand in tensors: claims that their bytes do not keep, values that are not numbers, bombs."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from hasten.diagnose.order import AGAIN
from hasten.diagnose.walk import graphs, nodes
from hasten.errors import InputError

MAX_ELEMENTS = 500_000_000  # of one tensor between layers, every free axis counted as 1: 2 GB of float32
MAX_STRINGS = 1_000_000  # texts in a tensor; each costs an engine 32 bytes and more, whatever it costs the file
_PIECE = 1 << 22  # elements looked at together
_SMALL = 4096  # bytes; shape inference needs the values of shapes and axes, never those of weights
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor with values: initializers, and the attributes of nodes, in whatever graph or function."""
    for graph, _ in graphs(model):
        yield from graph.initializer
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def external(model: ModelProto, folder: Path, room_mb: float) -> float:
    """See that external data lies whole in the model's folder; its size in MB.

    Raises:
        InputError: missing, outside the folder, shorter than claimed, or more than `room_mb`.
    """
    found: dict[Path, int] = {}
    for tensor in tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            path, offset, length = _place(tensor, folder)
            size = found.setdefault(path, path.stat().st_size)
            if offset < 0 or length < 0 or offset + length > size:
                raise InputError(
                    f"wants bytes {offset} to {offset + length} of {path.name} for the weight {tensor.name!r}",
                    f"that file has {size} bytes: copy it again",
                )
    total_mb = sum(found.values()) / 1e6
    if total_mb > room_mb:
        raise InputError(f"has {total_mb:.0f} MB of external data", f"there is room for {room_mb:.0f} MB")
    return total_mb


def _place(tensor: TensorProto, folder: Path) -> tuple[Path, int, int]:
    """File, offset and length in bytes of an external tensor."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    where = said.get("location", "")
    path = (folder / where).resolve()
    if not where or Path(where).is_absolute() or not path.is_relative_to(folder.resolve()) or path == folder.resolve():
        raise InputError(
            f"keeps the weight {tensor.name!r} in {where!r}, outside its own folder",
            "copy that file beside the model, not as a link, and save the model again",
        )
    if not path.is_file():
        raise InputError(
            f"keeps the weight {tensor.name!r} in {where!r}, which is missing", "copy that file beside the model"
        )
    try:
        offset = int(said.get("offset") or 0)
        return path, offset, int(said["length"]) if said.get("length") else _claimed(tensor)
    except ValueError as fault:
        raise InputError(
            f"has an offset or length of the weight {tensor.name!r} that is not a number", AGAIN
        ) from fault


def check(model: ModelProto, folder: Path) -> None:
    """Every rule on every tensor, then on the shapes between the layers; drops the large weights of `model`.

    Raises:
        InputError: the first that is broken.
    """
    for tensor in tensors(model):
        payload(tensor, folder)
        finite(tensor, folder)
    sizes(model)


def payload(tensor: TensorProto, folder: Path) -> None:
    """The bytes there are must be the bytes that type and shape claim."""
    if any(d < 0 for d in tensor.dims):
        raise InputError(f"has a weight {tensor.name!r} with the shape {list(tensor.dims)}", AGAIN)
    count = math.prod(tensor.dims)
    if tensor.data_type == TensorProto.STRING:
        if count != len(tensor.string_data) or count > MAX_STRINGS:
            raise InputError(
                f"has a tensor {tensor.name!r} of {count} texts",
                f"it holds {len(tensor.string_data)}, {MAX_STRINGS} is the most",
            )
        return
    claimed = _claimed(tensor)
    if tensor.data_location == TensorProto.EXTERNAL:
        given = _place(tensor, folder)[2]
    elif tensor.HasField("raw_data"):
        given = len(tensor.raw_data)
    else:
        elements = sum(len(getattr(tensor, f)) for f in _FIELDS)
        packed = _bits(tensor) < 8
        given = elements if packed else elements * _bits(tensor) // (16 if tensor.data_type in _COMPLEX else 8)
    if given != claimed:
        raise InputError(
            f"has a weight {tensor.name!r} of shape {list(tensor.dims)}, which is {claimed} bytes",
            f"{given} bytes are there: {AGAIN}",
        )


def finite(tensor: TensorProto, folder: Path) -> None:
    """No NaN, and no infinity among weights.

    The lowest float is a number like any other. Minus infinity is how attention masks are written: a tensor of nothing
    but infinities, zeros and ones is taken for a mask or a bound.
    """
    infinite, mask = False, True
    for piece in _pieces(tensor, folder):
        whole = np.isfinite(piece)
        if np.isnan(piece).any():
            raise InputError(f"has a weight {tensor.name!r} with values that are NaN", "train or export it again")
        infinite = infinite or not whole.all()
        mask = mask and bool(np.isin(piece[whole], (0, 1)).all())
    if infinite and not mask:
        raise InputError(f"has a weight {tensor.name!r} with infinite values", "train or export it again")


def _pieces(tensor: TensorProto, folder: Path) -> Iterator[np.ndarray]:
    """The values of a floating-point tensor, some at a time, without a copy of the whole."""
    if tensor.data_type not in _FLOATS or not math.prod(tensor.dims):
        return
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if tensor.data_location == TensorProto.EXTERNAL:
        path, offset, length = _place(tensor, folder)
        flat = np.memmap(path, np.uint8, "r", offset, (length,)).view(dtype)
    elif tensor.HasField("raw_data"):
        flat = np.frombuffer(tensor.raw_data, dtype)
    else:
        flat = onnx.numpy_helper.to_array(tensor).reshape(-1)
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        yield piece if piece.dtype.kind == "f" else piece.astype(np.float32)  # bfloat16


def sizes(model: ModelProto) -> None:
    """Shapes between the layers, as far as they show without running: Expand, Tile and ConstantOfShape hide bombs."""
    for graph, _ in graphs(model):
        for weight in graph.initializer:
            if weight.ByteSize() > _SMALL:
                for field in ("raw_data", *_FIELDS):
                    weight.ClearField(field)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # ONNX Runtime infers them again when it builds, and says what is wrong
        return
    for graph, _ in graphs(inferred):
        for value in (*graph.value_info, *graph.output):
            count = math.prod(max(1, d.dim_value) for d in value.type.tensor_type.shape.dim)
            if count > MAX_ELEMENTS:
                raise InputError(
                    f"makes a tensor {value.name!r} of {count} elements",
                    f"{MAX_ELEMENTS} is the most: {AGAIN} for smaller inputs",
                )


_COMPLEX = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def _bits(tensor: TensorProto) -> int:
    name = TensorProto.DataType.Name(tensor.data_type)
    if name.endswith("INT4") or name == "FLOAT4E2M1":
        return 4
    if name.endswith("INT2"):
        return 2
    size: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return 8 * size


def _claimed(tensor: TensorProto) -> int:
    """Bytes that the type and the shape of a tensor come to."""
    try:
        bits = _bits(tensor)
    except (KeyError, ValueError, TypeError) as fault:
        raise InputError(f"has a weight {tensor.name!r} of the unknown type {tensor.data_type}", AGAIN) from fault
    count: int = math.prod(tensor.dims)
    return (count * bits + 7) // 8
