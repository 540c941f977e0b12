"""torch -> ONNX: one file, weights inside, proven against torch on real data before it is handed over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hasten.data import Data
from hasten.engine import Engine, available
from hasten.errors import HastenError, InputError, MissingError
from hasten.exporters import OPSET, OPSETS, write
from hasten.model import Arrays, OnnxModel, TorchModel

TOLERANCE = 1e-3  # of the largest magnitude of an output: summation order costs 1e-5, a wrong operator far more
_PROOF_SAMPLES = 16
_OF_OPSETS = ("ConversionError", "SymbolicValueError", "OnnxExporterError")  # what exporters raise of an operator


@dataclass(frozen=True)
class Attempt:
    """An exporter that refused, or whose graph was refused."""

    exporter: str
    opset: int
    fault: Exception

    def __str__(self) -> str:
        return f"{self.exporter}: {brief(self.fault)}"


@dataclass(frozen=True)
class Exported:
    """An ONNX model and how far it is from torch."""

    model: OnnxModel
    exporter: str  # "dynamo" or "torchscript"
    opset: int
    max_abs_difference: float  # over all outputs, samples and batch sizes that were compared
    rewrites: tuple[str, ...] = ()  # "name in module": what was written otherwise so that it could be exported


def export(model: TorchModel, data: Data, fix: bool = False) -> Exported:
    """Export with the dynamo exporter and, where that refuses or errs, with the older one, then at other opsets.

    Inputs, outputs and free axes are named as in the signature; a fixed batch stays fixed. Each node keeps the name of
    the user's module it came from.

    Args:
        model: its outputs are read as `hasten.engines.torch.call` names them; it is left as it is.
        data: real samples; some twenty, in batches of several sizes, are compared with torch on an ONNX engine.
        fix: write what cannot be exported in another form that can be (`hasten.diagnose.rewrites`); the file is
            compared with the model as it came.

    Raises:
        InputError: no exporter gives a graph that answers as torch does: the smallest module at fault, the line, what
            kind of fault it is and what helps, and what each exporter said.
        MissingError: no ONNX engine is here to compare with.
    """
    engines = available("onnx")
    if not engines:
        raise MissingError(
            "an export is compared with torch, and no ONNX engine is installed", "pip install 'hasten[onnxruntime]'"
        )
    feeds = proof(model, data)
    made = attempted(model, feeds, engines[0])
    if isinstance(made, Exported):
        return made
    if fix:
        from hasten.diagnose.export_fix import mended

        return mended(model, feeds, engines[0], made)
    from hasten.diagnose.export_failure import diagnose

    raise InputError(*diagnose(model, feeds, engines[0], made).sentence)


def attempted(
    model: TorchModel, feeds: Sequence[Arrays], engine: Engine, quick: bool = False, linked: bool = True
) -> Exported | tuple[Attempt, ...]:
    """The first file that answers as torch does, or why there is none.

    Args:
        feeds: the first is traced, the others are compared.
        quick: the newest opset alone, and the exporter first that needs less time.
        linked: as `hasten.exporters.write`.
    """
    faults: list[Attempt] = []
    for exporter, opset in (("torchscript", OPSET), ("dynamo", OPSET)) if quick else _ways():
        if not all(_helps(attempt) for attempt in faults if attempt.exporter == exporter):
            continue
        try:
            made = write(exporter, model, feeds[0], opset, linked)
            difference = compared(model, made, feeds[1:], engine)
        except MissingError:
            raise
        except Exception as fault:  # an exporter raises whatever it pleases
            faults.append(Attempt(exporter, opset, fault))
        else:
            return Exported(made, exporter, made.opset, difference)
    return tuple(faults)


def proof(model: TorchModel, data: Data) -> list[Arrays]:
    """What is traced, then batches of several sizes to compare, or several calls where the size is fixed."""
    fixed = model.signature.fixed_batch
    if not model.signature.batch:
        return [_feed(model, data, fixed, i * fixed) for i in (0, *range(-(-_PROOF_SAMPLES // fixed)))]
    sizes = (_PROOF_SAMPLES, 5, 1)
    return [_feed(model, data, 3), *(_feed(model, data, size, sum(sizes[:i])) for i, size in enumerate(sizes))]


def _ways() -> Iterator[tuple[str, int]]:
    """Both exporters at the usual opset, then the others of each, newest first."""
    yield from ((exporter, opsets[0]) for exporter, opsets in OPSETS.items())
    yield from ((exporter, opset) for exporter, opsets in OPSETS.items() for opset in opsets[1:])


def _helps(attempt: Attempt) -> bool:
    """Could another opset do better? Where an operator had no form, or where the engine had no kernel."""
    said = brief(attempt.fault)
    if "No ONNX function found" in said:
        return False  # what dynamo has for newer opsets alone, it takes apart for older ones (torch 2.13)
    refused = isinstance(attempt.fault, InputError) and "refuses the model" in said
    return refused or type(attempt.fault).__name__ in _OF_OPSETS


def _feed(model: TorchModel, data: Data, count: int, first: int = 0) -> dict[str, np.ndarray]:
    """`count` samples from `first` on; after the last comes the first again."""
    rows = np.arange(first, first + count) % len(data)
    return {t.name: np.ascontiguousarray(data.inputs[t.name][rows]) for t in model.signature.inputs}


def compared(model: TorchModel, made: OnnxModel, feeds: Sequence[Arrays], engine: Engine) -> float:
    """Largest difference from torch.

    Raises:
        InputError: an output differs by more than the tolerance.
    """
    from hasten.engines.torch import call

    if made.signature != model.signature:
        raise InputError(f"the exported signature is {made.signature}", f"torch has {model.signature}")
    largest = 0.0
    with engine.compile(made) as session:
        for feed in feeds:
            right = call(model.module, {name: array.copy() for name, array in feed.items()})  # forward may write there
            came = session(feed)
            for name, expected in right.items():
                if came[name].shape != expected.shape:
                    raise InputError(
                        f"{name!r} has shape {list(came[name].shape)} where torch gives {list(expected.shape)}",
                        "a length was written into the graph that is free",
                    )
                difference, allowed = _difference(came[name], expected)
                if not difference <= allowed:
                    size = next(iter(feed.values())).shape[:1]
                    raise InputError(
                        f"{name!r} differs from torch by {difference:.3g} at batch {size[0] if size else 1}",
                        f"at most {allowed:.3g} is allowed",
                    )
                largest = max(largest, difference)
    return largest


def _difference(came: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Largest absolute difference (equal infinities and NaNs have none), and what is allowed."""
    if expected.dtype.kind != "f":
        return float((came != expected).sum()), 0.0
    same = (came == expected) | (np.isnan(came) & np.isnan(expected))
    apart = np.where(same, 0.0, np.abs(came.astype(np.float64) - expected))
    finite = np.abs(expected[np.isfinite(expected)])
    return float(apart.max(initial=0.0)), TOLERANCE * max(1.0, float(finite.max(initial=0.0)))


def brief(fault: BaseException) -> str:
    """The first line of what was said at the root of it, shortened."""
    if isinstance(fault, HastenError):
        return str(fault)
    while isinstance(fault.__cause__, Exception):
        fault = fault.__cause__
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return f"{type(fault).__name__}: {lines[0][:200] if lines else 'no reason given'}"
