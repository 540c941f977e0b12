"""One run of a whole network on a sample, in a child process, and what the values inside it were."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from hasten.child import Child
from hasten.errors import HastenError
from hasten.model import Arrays

SMALL = 4096  # elements of a value up to which it is handed back whole
LIMIT_S, MEMORY_MB = 60.0, 4000
Shapes = Mapping[str, tuple[int, tuple[int, ...]]]


def traced(proto: onnx.ModelProto, feed: Arrays, names: Sequence[str]) -> tuple[Arrays, Shapes]:
    """The small ones among the values `names`, and the type and shape of all; nothing where it cannot be run.

    ONNX Runtime runs it, without any optimization; where it refuses, ONNX's own evaluator, which is slow.
    """
    with tempfile.TemporaryDirectory(prefix="hasten-") as scratch:
        folder, probe = Path(scratch), onnx.ModelProto()
        probe.CopyFrom(proto)
        outputs = {v.name for v in probe.graph.output}
        probe.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in outputs)
        (folder / "whole.onnx").write_bytes(probe.SerializeToString())
        pack(folder / "feed.npz", feed)
        limit = int(MEMORY_MB + 4 * (folder / "whole.onnx").stat().st_size / 1e6)
        for runner in ("onnxruntime", "reference"):
            try:
                with Child("hasten.diagnose.traced:Runner", memory_mb=limit) as child:
                    told = child.call(runner, LIMIT_S, folder=scratch, inputs=list(feed), names=list(names))
            except HastenError:
                continue
            values = unpack(folder / "values.npz", told["small"])
            return values, {n: (kind, tuple(shape)) for n, (kind, shape) in told["shapes"].items()}
    return {}, {}


class Runner:
    """The child's side."""

    def onnxruntime(self, folder: str, inputs: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(str(Path(folder) / "whole.onnx"), options, providers=["CPUExecutionProvider"])
        return _kept(Path(folder), names, session.run(list(names), unpack(Path(folder) / "feed.npz", inputs)))

    def reference(self, folder: str, inputs: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(str(Path(folder) / "whole.onnx"))
        answer = evaluator.run(list(names), unpack(Path(folder) / "feed.npz", inputs))
        return _kept(Path(folder), names, list(answer))


def _kept(folder: Path, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Write the small ones; the type and shape of all that are tensors."""
    pairs = zip(names, values, strict=True)
    tensors = {n: np.asarray(v) for n, v in pairs if not isinstance(v, list | dict | type(None))}
    known = {n: v for n, v in tensors.items() if v.dtype.kind in "biuf"}
    small = {n: v for n, v in known.items() if math.prod(v.shape) <= SMALL}
    pack(folder / "values.npz", small)
    shapes = {n: [onnx.helper.np_dtype_to_tensor_dtype(v.dtype), list(v.shape)] for n, v in known.items()}
    return {"small": list(small), "shapes": shapes}


def pack(path: Path, arrays: Arrays) -> None:
    """Arrays in their order: an archive cannot have every name that a value can."""
    np.savez(path, *arrays.values(), allow_pickle=False)


def unpack(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """What was packed in the order of `names`."""
    with np.load(path, allow_pickle=False) as found:
        return {name: found[f"arr_{i}"] for i, name in enumerate(names)}
