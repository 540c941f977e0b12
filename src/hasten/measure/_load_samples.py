"""The samples that a bundle is loaded with, prepared by its own pipeline: its golden ones, or a task's with labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from hasten.bundle import Bundle
from hasten.diagnose.drift import behind, drift
from hasten.errors import InputError, Unmet
from hasten.model import Arrays
from hasten.task import Task

MOST_BYTES = 512 << 20  # of prepared samples in memory
DISTINCT = 64  # samples no two of which are alike, to find a cache; fewer where a sample has fewer values


@dataclass(frozen=True)
class Samples:
    """Prepared samples in a folder: i.npy [N, ...] of the i-th input.

    Attributes:
        folder, distinct: where they lie; `distinct` are variations of the first, of the same values.
        count, distinct_count: how many there are.
        source: `golden`, or the part of the task's data.
        whole: whether it is all of that part.
        labels: their targets, where there are any.
    """

    folder: Path
    distinct: Path
    count: int
    distinct_count: int
    source: str
    whole: bool = True
    labels: np.ndarray | None = None

    def first(self, count: int) -> "Samples":
        """As many of them at most."""
        if count >= self.count:
            return self
        labels = None if self.labels is None else self.labels[:count]
        return replace(self, count=count, whole=False, labels=labels)


def gather(bundle: Bundle, task: Task | None, scratch: Path) -> Samples:
    """Prepare the samples, and write them below `scratch`.

    Raises:
        InputError: the network has no inputs, or the task's data does not fit it.
        Unmet: the task's pipeline has drifted from the bundle's.
    """
    if not bundle.signature.inputs:
        raise InputError(f"{bundle.folder} has no inputs: there is nothing to load it with", "give another bundle")
    made, inputs = _of_task(bundle, task, scratch) if task else _golden(bundle, scratch)
    arrays = [np.ascontiguousarray(inputs[tensor.name]) for tensor in bundle.signature.inputs]
    variations = _variations([array[:1] for array in arrays])
    for folder, part in ((made.folder, arrays), (made.distinct, variations)):
        folder.mkdir(parents=True)
        for place, array in enumerate(part):
            np.save(folder / f"{place}.npy", array)
    return replace(made, distinct_count=len(variations[0]))


def _golden(bundle: Bundle, scratch: Path) -> tuple[Samples, Arrays]:
    arrays = {
        t.name: np.concatenate(
            [np.load(bundle.folder / case.prepared[t.name], allow_pickle=False) for case in bundle.golden.cases]
        )
        for t in bundle.signature.inputs
    }
    count = len(next(iter(arrays.values())))
    return Samples(scratch / "samples", scratch / "distinct", count, 1, "golden"), arrays


def _of_task(bundle: Bundle, task: Task, scratch: Path) -> tuple[Samples, Arrays]:
    task = behind(bundle, task)
    if moved := drift(bundle.pipeline, task.pipeline):
        raise Unmet(f"{task.source} has drifted from {bundle.folder}: {'; '.join(moved)}", "make the bundle again")
    part = _part(bundle, task)
    raw = task.raw(part)
    one = bundle.pipeline.prepared(raw.take(slice(0, 1)).inputs)
    count = min(len(raw), max(1, MOST_BYTES // max(1, sum(array.nbytes for array in one.values()))))
    taken = raw.take(slice(0, count))
    inputs = bundle.pipeline.prepared(taken.inputs)
    expected = {t.name: t.dtype for t in bundle.signature.inputs}
    if {name: array.dtype.name for name, array in inputs.items()} != expected:
        raise InputError(f"the {part} data of {task.source} is not what {bundle.folder} takes", "give its own task")
    made = Samples(scratch / "samples", scratch / "distinct", count, 1, part, count == len(raw), taken.target)
    return made, inputs


def _part(bundle: Bundle, task: Task) -> Literal["validate", "test"]:
    """The one that the bundle's accuracy is of; else test data, where there is any."""
    measured = bundle.measurements.get("split")
    if measured == "validate" or (measured != "test" and task.test is None):
        return "validate"
    return "test"


def _variations(sample: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One sample, [1, ...] of each input -> up to DISTINCT of its values, moved on by one place more each time."""
    made: dict[bytes, list[np.ndarray]] = {}
    for k in range(DISTINCT):
        moved = [np.roll(array.reshape(-1), k).reshape(array.shape) for array in sample]
        made.setdefault(b"".join(array.tobytes() for array in moved), moved)
    return [np.concatenate(arrays) for arrays in zip(*made.values(), strict=True)]
