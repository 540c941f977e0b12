"""An ONNX file at an opset that every engine here reads."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from onnx import version_converter

from hasten.diagnose.hostile import admit
from hasten.engine import available
from hasten.errors import HastenError, InputError
from hasten.exporters import OPSET
from hasten.model import Arrays, OnnxModel, Signature

OLDEST = 13
CLOSE = 1e-3  # of the largest magnitude of an output


def readable(path: Path) -> tuple[OnnxModel, tuple[str, ...]]:
    """The file as it is, or at the newest other opset that every ONNX engine here reads, and what was done.

    The converter of the onnx package does it. What comes out has passed the gate, and answers to random inputs as the
    file does on the first engine that reads it, or else by the onnx package's own evaluator.

    Raises:
        InputError: it is no ONNX file, or no opset helps: what the engines say.
    """
    try:
        model = admit(path)
        refusal = _refusal(model)
    except InputError as fault:
        model, refusal = admit(path, runs=False), fault
    if refusal is None:
        return model, ()
    for opset in sorted({OPSET, *range(OLDEST, OPSET)} - {model.opset}, reverse=True):
        try:
            made = OnnxModel(version_converter.convert_version(model.proto, opset))
            with TemporaryDirectory() as folder:
                made = admit(made.save(Path(folder) / "model.onnx").path or Path())
        except (InputError, RuntimeError, ValueError):  # the converter raises its own
            continue
        if _refusal(made) is None and _same(model, made):
            return OnnxModel(made.proto), (f"opset {opset} in place of {model.opset}",)
    raise refusal


def _refusal(model: OnnxModel) -> InputError | None:
    """What the first engine says that does not read it."""
    for engine in available("onnx"):
        try:
            engine.compile(model).close()
        except InputError as fault:
            return fault
    return None


def _same(before: OnnxModel, after: OnnxModel) -> bool:
    feed = _random(before.signature)
    wanted, came = _answers(before, feed), _answers(after, feed)
    for name, a in wanted.items():
        b = came[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        limit = CLOSE * max(1.0, float(np.abs(np.nan_to_num(a)).max(initial=0)))
        if not np.allclose(a, b, rtol=0, atol=limit, equal_nan=True):
            return False
    return True


def _answers(model: OnnxModel, feed: Arrays) -> Arrays:
    for session in _sessions(model, feed):
        return session
    from onnx.reference import ReferenceEvaluator

    names = [t.name for t in model.signature.outputs]
    return dict(zip(names, ReferenceEvaluator(model.proto).run(names, dict(feed)), strict=True))


def _sessions(model: OnnxModel, feed: Arrays) -> Iterator[Arrays]:
    for engine in available("onnx"):
        try:
            with engine.compile(model) as session:
                yield session(feed)
        except HastenError:
            continue


def _random(signature: Signature) -> dict[str, np.ndarray]:
    """Seeded; free axes are 2 long. Whole numbers are 0 and 1, which are indices of nearly anything."""
    rng = np.random.default_rng(0)
    feed = {}
    for tensor in signature.inputs:
        shape = [n if isinstance(n, int) else 2 for n in tensor.shape]
        drawn = rng.normal(size=shape) if tensor.dtype.startswith("float") else rng.integers(0, 2, shape)
        feed[tensor.name] = drawn.astype(tensor.dtype)
    return feed
