"""ONNX Runtime's two quantizers; they work on files, which live in a temporary folder here."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasten.model import Arrays
from hasten.provenance import nodes

if TYPE_CHECKING:
    import onnx

    from hasten.graph.quantize import Quantize


def static(proto: "onnx.ModelProto", step: "Quantize", feeds: Sequence[Arrays], skip: list[str]) -> "onnx.ModelProto":
    """Q and DQ where ONNX Runtime fuses them; outputs of a run are let go before the next one.

    Args:
        proto: simplified, with unique node names.
        feeds: one call's inputs each.
        skip: nodes that stay in floating point.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    method = {"entropy": CalibrationMethod.Entropy, "percentile": CalibrationMethod.Percentile}
    with _files(proto) as (source, target):
        quantize_static(
            source,
            target,
            _reader(feeds),
            QuantFormat.QDQ,
            op_types_to_quantize=list(step.ops) or None,
            per_channel=step.weights_per_channel,
            reduce_range=step.reduce_range,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QInt8 if step.symmetric else QuantType.QUInt8,
            nodes_to_exclude=skip,
            calibrate_method=method.get(step.ranges, CalibrationMethod.MinMax),
            extra_options={"CalibStridedMinMax": 1, "ActivationSymmetric": step.symmetric},
        )
        return _read(target)


def dynamic(proto: "onnx.ModelProto", step: "Quantize") -> "onnx.ModelProto":
    """INT8 weights; the range of what they are multiplied with is found at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _files(proto) as (source, target):
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=list(step.ops) or ["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=step.weights_per_channel,
            reduce_range=step.reduce_range,
        )
        return _read(target)


def weights(proto: "onnx.ModelProto", step: "Quantize") -> "onnx.ModelProto":
    """Weights of matrix products in 8 or 4 bits, by blocks; what they are multiplied with stays in floats."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    with _quiet():
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(copy, bits=4 if step.dtype == "int4" else 8, block_size=step.block)
        quantizer.process()
    made: onnx.ModelProto = quantizer.model.model
    return made


def _reader(feeds: Sequence[Arrays]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self._rest = iter(feeds)

        def get_next(self) -> Arrays | None:
            return next(self._rest, None)

        def __len__(self) -> int:
            return len(feeds)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._rest = iter(feeds[i] for i in range(start_index, end_index))

    return Reader()


@contextlib.contextmanager
def _files(proto: "onnx.ModelProto") -> Iterator[tuple[Path, Path]]:
    """The graph prepared in one file, and where the quantized one goes."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet(), tempfile.TemporaryDirectory(prefix="hasten-") as folder:
        plain, source = Path(folder) / "plain.onnx", Path(folder) / "prepared.onnx"
        plain.write_bytes(proto.SerializeToString())
        quant_pre_process(plain, source, skip_symbolic_shape=True)
        yield source, Path(folder) / "quantized.onnx"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizers advise through the root logger, which they take for theirs, and on stdout."""
    root = logging.getLogger()
    level, handlers, disabled = root.level, root.handlers[:], root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        root.handlers[:] = handlers


def _read(path: Path) -> "onnx.ModelProto":
    """Without the operator sets that a session writes down and no node uses."""
    import onnx

    made = onnx.load(path)
    used = {node.domain for node in nodes(made.graph)}
    kept = [o for o in made.opset_import if o.domain in used]
    del made.opset_import[:]
    made.opset_import.extend(kept)
    return made
