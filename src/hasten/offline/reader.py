"""Samples of a job as the network takes them: each is loaded when its turn comes."""

import mmap
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np

from hasten import image
from hasten.data import GROUPS, TARGET, Data
from hasten.errors import HastenError, InputError, MissingError, UsageError
from hasten.model import Arrays, Signature
from hasten.offline.inputs import Place
from hasten.offline.videos import require
from hasten.pipeline import Pipeline

Alike = tuple[list[int], Arrays]  # positions of samples of one shape, and their tensors by name, [n, ...]


class Reader:
    """Loads samples for one bundle; each call may be made in a thread of its own."""

    def __init__(self, signature: Signature, pipeline: Pipeline, prepared: bool) -> None:
        """
        Args:
            prepared: rows of arrays are tensors as the network takes them, not raw samples.
        """
        self._signature, self._pipeline, self._prepared = signature, pipeline, prepared
        self._names = {t.name for t in signature.inputs}

    def check(self, places: Sequence[Place]) -> None:
        """See that samples of these kinds can be read for this bundle.

        Raises:
            UsageError: image files or videos for a bundle that takes something else.
            MissingError: videos, and what reads them is not installed.
        """
        kinds = {place.video for place in places if place.row is None}
        how = [p for p in self._pipeline.inputs.values() if p.kind == "image"]
        for video in sorted(kinds):
            if len(self._names) != 1 or len(how) != 1 or self._prepared or (self._pipeline.window and not video):
                raise UsageError(
                    f"this bundle takes {', '.join(map(str, self._signature.inputs))}, not "
                    f"{'videos' if video else 'single image files'}",
                    "give archives of arrays (.npz, or folders of .npy)",
                )
            if video:
                require()

    def load(self, places: Sequence[Place]) -> tuple[list[Alike], dict[int, str]]:
        """Prepared tensors of those that can be read.

        Returns:
            Of consecutive ones of one shape: positions in `places`, and tensors by name, [n, ...]. Position -> why not.
        """
        good: list[Alike] = []
        bad: dict[int, str] = {}
        for start, stop in _runs(places):
            for first, last in ((start, stop), *((i, i + 1) for i in range(start, stop) if stop - start > 1)):
                try:
                    good.append((list(range(first, last)), self._together(places[first:last])))
                except MissingError:
                    raise
                except HastenError as fault:
                    if last - first == 1:
                        bad[first] = str(fault)
                    continue  # one by one
                if last == stop:
                    break
        return list(_alike(good)), bad

    def let_go(self, places: Sequence[Place]) -> None:
        """Of the rows that have been read: until then the pages of a mapped file count as memory of this process."""
        for path in {place.path for place in places if place.row is not None}:
            for array in _opened(path).inputs.values():
                whole: Any = array
                while isinstance(whole, np.ndarray):
                    whole = whole.base
                if isinstance(whole, mmap.mmap):
                    whole.madvise(mmap.MADV_DONTNEED)

    def _together(self, places: Sequence[Place]) -> Arrays:
        """One image file, or rows of one archive that follow each other."""
        first, row = places[0], places[0].row
        if row is None:
            ((name, how),) = self._pipeline.inputs.items()
            raw: Arrays = {name: image.read(first.path, how.source)[None]}  # type: ignore[arg-type]
        else:
            arrays = _opened(first.path).inputs
            if set(arrays) != self._names:
                raise InputError(f"{first.path} holds {sorted(arrays)}", f"the bundle takes {sorted(self._names)}")
            raw = {name: np.ascontiguousarray(array[row : row + len(places)]) for name, array in arrays.items()}
            if any(a.dtype.kind == "f" and not np.isfinite(a).all() for a in raw.values()):
                raise InputError("a value is not finite", "remove or repair the sample")
        tensors = raw if self._prepared else self._pipeline.prepared(raw)
        for tensor in self._signature.inputs:
            array, wanted = tensors[tensor.name], tensor.shape[1:]
            fits = array.ndim == len(tensor.shape) and all(
                isinstance(n, str) or n == m for n, m in zip(wanted, array.shape[1:], strict=True)
            )
            if not fits or array.dtype.name != tensor.dtype:
                raise InputError(f"it is {array.dtype.name} {list(array.shape[1:])}", f"{tensor} is expected")
        return tensors


def _alike(parts: Sequence[Alike]) -> Iterator[Alike]:
    """Consecutive ones of one shape made one: where axes are free, not all samples go to the network together."""
    for shapes, group in groupby(parts, lambda part: {name: a.shape[1:] for name, a in part[1].items()}):
        some = list(group)
        tensors = {name: np.concatenate([t[name] for _, t in some]) for name in shapes}
        yield [i for positions, _ in some for i in positions], tensors


def _runs(places: Sequence[Place]) -> Iterator[tuple[int, int]]:
    """From and to of rows that follow each other in one archive; an image file stands alone."""
    start = 0
    for i in range(1, len(places) + 1):
        before, here = places[i - 1], places[i] if i < len(places) else None
        follows = here is not None and before.row is not None and (here.path, here.row) == (before.path, before.row + 1)
        if not follows:
            yield start, i
            start = i


@lru_cache(maxsize=16)
def _opened(path: str) -> Data:
    data = Data.load(path)
    return Data({name: a for name, a in data.arrays().items() if name not in (TARGET, GROUPS)})
