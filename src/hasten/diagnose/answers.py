"""Whether two answers of one node agree, and who says what is right: ONNX Runtime first, ONNX's own evaluator after.

The tolerance is the largest difference over the largest magnitude of the output that it is held against. A sum of
thousands of products in another order differs by 1e-6 to 1e-4 of it in float32; an attribute that is ignored changes
answers by percents.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hasten.child import Child, ChildDied
from hasten.diagnose.traced import pack, unpack
from hasten.errors import HastenError
from hasten.model import Arrays

TOLERANCE = {"float64": 1e-3, "float32": 1e-3, "float16": 2e-2}  # of the largest magnitude; float64 is often narrowed
LEVELS = 1  # by which 8-bit whole numbers may differ: a half is rounded either way
LIMIT_S, MEMORY_MB = 20.0, 4000
DRAWN = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def difference(answer: Arrays, right: Arrays) -> str:
    """How they differ beyond the tolerance, in words; empty where they agree. Compared in the order of outputs."""
    for (name, is_given), is_right in zip(answer.items(), right.values(), strict=True):
        if is_given.shape != is_right.shape:
            return f"{name!r} has the shape {list(is_given.shape)}, not {list(is_right.shape)}"
        if is_right.size == 0 or is_right.dtype.kind not in "biuf":
            continue
        if is_right.dtype.kind == "f":
            said = _floats(is_given.astype(np.float64), is_right.astype(np.float64), TOLERANCE[is_right.dtype.name])
        else:
            apart = np.abs(is_given.astype(np.int64) - is_right.astype(np.int64)).max()
            allowed = LEVELS if is_right.dtype.itemsize == 1 and is_right.dtype.kind in "iu" else 0
            said = f"by {apart}, {allowed} is allowed" if apart > allowed else ""
        if said:
            return said
    return ""


def _floats(answer: np.ndarray, right: np.ndarray, tolerance: float) -> str:
    same = np.isfinite(right) & np.isfinite(answer)
    odd = ~same & ~((np.isnan(right) & np.isnan(answer)) | (right == answer))
    if odd.any():
        return f"{int(odd.sum())} of {odd.size} values are not finite on one side only"
    scale = float(np.abs(right[same]).max(initial=0.0)) or 1.0
    apart = float(np.abs(answer[same] - right[same]).max(initial=0.0)) / scale
    return f"by {apart:.2g} of the largest value, {tolerance:g} is allowed" if apart > tolerance else ""


class Oracle:
    """Who is asked what a single-node model has to answer, in a child process each. Close it, or use `with`."""

    ORDER = ("onnxruntime", "reference")

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    def __call__(self, who: str, path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Arrays | None:
        """Its answers by output; None where it has none. The feed is packed beside the model, as feed.npz."""
        child = self._children.get(who) or Child("hasten.diagnose.answers:Asked", memory_mb=MEMORY_MB)
        self._children[who] = child
        made = path.with_name(f"{who}.npz")
        try:
            child.call(who, LIMIT_S, path=str(path), inputs=list(inputs), outputs=list(outputs), made=str(made))
        except HastenError as fault:
            if isinstance(fault, ChildDied) and "raised" not in str(fault):
                self._children.pop(who).close()
            return None
        return unpack(made, outputs)

    def close(self) -> None:
        for child in self._children.values():
            child.close()
        self._children.clear()

    def __enter__(self) -> "Oracle":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Asked:
    """The child's side."""

    def onnxruntime(self, path: str, inputs: Sequence[str], outputs: Sequence[str], made: str) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        answer = session.run(list(outputs), _feed(path, inputs))
        pack(Path(made), _arrays(dict(zip(outputs, answer, strict=True))))

    def reference(self, path: str, inputs: Sequence[str], outputs: Sequence[str], made: str) -> None:
        from onnx.reference import ReferenceEvaluator

        answer = ReferenceEvaluator(path).run(list(outputs), _feed(path, inputs))
        pack(Path(made), _arrays(dict(zip(outputs, answer, strict=True))))


def _feed(path: str, inputs: Sequence[str]) -> dict[str, np.ndarray]:
    return unpack(Path(path).with_name("feed.npz"), inputs)


def _arrays(answer: Mapping[str, object]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in answer.items()}
