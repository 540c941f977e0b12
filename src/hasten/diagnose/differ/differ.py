"""hasten diff: outputs first, then the first layer whose own error is too large, and why where there is none."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from hasten.data import Data
from hasten.diagnose.differ.cut import Graph
from hasten.diagnose.differ.distance import agreement, distance
from hasten.diagnose.differ.layers import Layer, Trace, Walk
from hasten.diagnose.differ.pairs import Pairs
from hasten.diagnose.differ.result import Cause, Difference, Output
from hasten.diagnose.differ.runner import Runs
from hasten.diagnose.differ.side import TOLERANCES, Side
from hasten.diagnose.differ.together import Rows, Together
from hasten.errors import InputError
from hasten.model import Arrays, Signature, Tensor
from hasten.search.progress import Progress, Silent

SAMPLES, LAYER_SAMPLES = 64, 4  # that outputs, and that layers, are compared on at most


def differ(
    a: Side,
    b: Side,
    samples: Data,
    scratch: Path,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> Difference:
    """Compare two sides on the same samples.

    The side that computes in the wider precision is the reference (torch before a file, then f32, f16, bf16, INT8), `a`
    where they are alike.

    Args:
        samples: prepared, by the names of inputs of either side.
        scratch: an empty folder.
        tolerance: share of the largest magnitude; None: that of golden cases for the narrower precision of the two.

    Raises:
        InputError: inputs or outputs that do not fit each other, or an engine that refuses a side.
        MissingError: an engine that is not here.
    """
    ref, other = (b, a) if b.width < a.width else (a, b)
    allowed = max(TOLERANCES[side.precision] for side in (a, b)) if tolerance is None else tolerance
    return _Comparison((ref, other), samples.spread(SAMPLES), scratch, allowed, progress or Silent()).made()


class _Comparison:
    def __init__(
        self, sides: tuple[Side, Side], samples: Data, scratch: Path, tolerance: float, progress: Progress
    ) -> None:
        self.sides, self.scratch, self.tolerance, self.progress = sides, scratch, tolerance, progress
        ref, other = (side.signature for side in sides)
        self.inputs = _paired(ref.inputs, other.inputs, "inputs")
        self.outputs = _paired(ref.outputs, other.outputs, "outputs")
        if set(samples.inputs) != {t.name for t in ref.inputs}:  # then they are named as the other has them
            samples = Data({self.inputs.get(name, name): array for name, array in samples.inputs.items()})
        self.samples = (_cast(samples, ref), _cast(samples, other, self.inputs))

    def made(self) -> Difference:
        with ExitStack() as stack:
            kinds = list(dict.fromkeys(side.layers for side in self.sides))  # a child for each, whatever it runs
            opened = [stack.enter_context(Runs(kind, self.scratch / str(i))) for i, kind in enumerate(kinds)]
            runs = [opened[kinds.index(side.layers)] for side in self.sides]
            self.progress.stage("outputs")
            answers = [self._answers(place, runs[place]) for place in (0, 1)]
            rows = [(o, r, answers[1][o], answers[0][r]) for o, r in self.outputs.items()]
            outputs = tuple(_output(*row) for row in rows)
            same = all(output.error <= self.tolerance for output in outputs)
            size, count = _batch([side.signature for side in self.sides]), len(self.samples[0])
            closed = next((side for side in self.sides if side.model is None), None)
            if size is None or closed is not None:
                why = f"{closed.name}: {closed.why}" if closed else "their batches are fixed, and not the same"
                cause: Cause = "none" if same else "unknown"
                return Difference(*self.sides, self.tolerance, (count, 0), outputs, cause, why=why)
            free = all(side.signature.batch is not None for side in self.sides)
            chosen = _chosen([row[2:] for row in rows], count, size, free)
            return self._layered(outputs, same, answers, chosen, runs)

    def _answers(self, place: int, runs: Runs) -> dict[str, np.ndarray]:
        """In memory, of one side for all samples."""
        found = self.sides[place].answers(runs, self.samples[place])
        kept = {name: np.array(array) for name, array in found.items()}
        runs.clear()
        return kept

    def _layered(
        self,
        outputs: tuple[Output, ...],
        same: bool,
        answers: Sequence[Arrays],
        chosen: np.ndarray,
        runs: Sequence[Runs],
    ) -> Difference:
        self.progress.stage("matching layers")
        graphs = [Graph(side.model, self._axes(len(chosen))) for side in self.sides if side.model]
        pairs = Pairs(graphs[0], graphs[1], self.inputs, self.outputs)
        feeds = [next(data.take(chosen).batches(len(chosen))) for data in self.samples]
        ref, other = (Trace(*part) for part in zip(graphs, runs, feeds, strict=True))
        layers = tuple(Walk(pairs, ref, other, self.tolerance, self.progress).layers())
        cause: Cause = "none" if same else "layer"
        row, on_ref, why = None, False, ""
        if not same:
            first = next((layer for layer in layers if layer.own > self.tolerance), None)
            self.progress.stage("looking at layers together")
            cause, row, on_ref, why = self._together(pairs, (ref, other), first, answers)
        counts = (len(self.samples[0]), len(chosen))
        return Difference(
            *self.sides, self.tolerance, counts, outputs, cause, layers, row, on_ref, pairs.free(), why
        )  # fmt: skip

    def _together(
        self, pairs: Pairs, traces: tuple[Trace, Trace], first: Layer | None, answers: Sequence[Arrays]
    ) -> tuple[Cause, Together | None, bool, str]:
        """Why outputs differ: a layer, unless only the reference as a whole is at odds with its own; or, where there is
        none, what was lost between torch and its export, fused, or added up.
        """
        ref, other = traces
        back = Rows(pairs.swapped().of, other, ref)
        try:
            if first is not None:
                itself = Rows({t: t for t in back.of}, ref, ref)
                place = itself.place(first.partner)
                sound = place is None or itself.error(place, place) <= self.tolerance
                row = None if sound else back.find(self.tolerance)
                return ("fusing", row, True, "") if row is not None else ("layer", None, False, "")
            if any(self._exported(place, traces[place], answers[place]) for place in (0, 1)):
                return "export", None, False, ""
            for rows in (Rows(pairs.of, ref, other), back):
                if (row := rows.find(self.tolerance)) is not None:
                    return "fusing", row, rows is back, ""
            return "sum", None, False, ""
        except InputError as fault:
            return ("unknown" if first is None else "layer"), None, False, str(fault)

    def _exported(self, place: int, trace: Trace, answers: Arrays) -> bool:
        """Whether torch differs from the export whose layers stand for it."""
        side = self.sides[place]
        if side.torch is None or side.model is None:
            return False
        made = trace.runs.answers(side.model, self.samples[place])
        return any(distance(made[name], array).error > self.tolerance for name, array in answers.items())

    def _axes(self, size: int) -> dict[str, int]:
        """Lengths of free axes, by name."""
        axes: dict[str, int] = {}
        for side, data in zip(self.sides, self.samples, strict=True):
            axes |= data.axes(side.signature)
            if side.signature.batch is not None and any(s.signature.batch is None for s in self.sides):
                axes[side.signature.batch] = size
        return axes


def _paired(theirs: Sequence[Tensor], mine: Sequence[Tensor], what: str) -> dict[str, str]:
    """Names of the other side by those of the reference: equal names, or else their order.

    Raises:
        InputError: neither fits.
    """
    shared = {t.name for t in theirs} & {t.name for t in mine}
    if shared and (what == "outputs" or len(shared) == len(theirs) == len(mine)):
        return {t.name: t.name for t in mine if t.name in shared}
    if len(theirs) != len(mine) or any(len(a.shape) != len(b.shape) for a, b in zip(theirs, mine, strict=True)):
        said = [", ".join(map(str, side)) for side in (theirs, mine)]
        raise InputError(f"the {what} are {said[1]} and {said[0]}", "give two models of the same task")
    return {b.name: a.name for a, b in zip(theirs, mine, strict=True)}


def _cast(samples: Data, signature: Signature, names: Mapping[str, str] | None = None) -> Data:
    """For a side: under its names, where they are others, and floats in the width that it takes."""
    mine = {theirs: name for name, theirs in (names or {}).items()}
    given = {mine.get(name, name): array for name, array in samples.inputs.items()}
    kinds = {t.name: np.dtype(t.dtype) for t in signature.inputs}

    def fitted(name: str, array: np.ndarray) -> np.ndarray:
        floats = name in kinds and array.dtype.kind == kinds[name].kind == "f"
        return array.astype(kinds[name], copy=False) if floats else array

    return Data({name: fitted(name, array) for name, array in given.items()}).check(signature, "the data")


def _output(name: str, partner: str, came: np.ndarray, right: np.ndarray) -> Output:
    apart = distance(came, right)
    return Output(name, partner, apart.max_abs, apart.error, apart.cosine, agreement(came, right))


def _batch(signatures: Sequence[Signature]) -> int | None:
    """Samples of the call whose layers are compared; None where the sides take different numbers of them."""
    fixed = {s.fixed_batch for s in signatures if s.batch is None}
    return None if len(fixed) > 1 else min(fixed, default=LAYER_SAMPLES)


def _chosen(rows: Sequence[tuple[np.ndarray, np.ndarray]], count: int, size: int, free: bool) -> np.ndarray:
    """Which samples: those whose outputs differ most, and some at even distances; one call where the batch is fixed."""
    worst = np.zeros(count)
    for came, right in rows:
        if came.shape == right.shape and len(came) == count:
            for i in range(count):
                worst[i] = max(worst[i], distance(came[i], right[i]).error)
    order = np.argsort(-worst, kind="stable")
    if not free:
        return (int(order[0]) // size * size + np.arange(size)) % count
    spread = np.linspace(0, count - 1, size).round().astype(int)
    return np.array(list(dict.fromkeys([*order[: size // 2], *spread]))[:size])
