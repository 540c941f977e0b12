"""Data: named input arrays, what they should give, and which samples belong together."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from hasten import files
from hasten.archive import array_name, file_name, unpacked
from hasten.errors import InputError
from hasten.model import Signature

TARGET, GROUPS = "target", "groups"  # names that are not inputs
_PIECE = 4096  # samples looked at together


@dataclass(frozen=True, eq=False)
class Data:
    """N samples.

    Attributes:
        inputs: input name -> array [N, ...], possibly memory-mapped. `target` and `groups` are no names for inputs.
        target: array [N, ...] of labels or reference answers; None where only the original model can say.
        groups: int array [N], equal for samples to be resampled together (one game, one video); None: each its own.
    """

    inputs: Mapping[str, np.ndarray]
    target: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, Mapping):
            raise InputError(
                f"the inputs are of type {type(self.inputs).__name__}",
                "give a dict: Data({<input name>: array}, target)",
            )
        if reserved := {TARGET, GROUPS} & set(self.inputs):
            raise InputError(f"no input can be called {reserved.pop()!r}", "rename that input of the model")
        for name, array in self.arrays().items():
            _plain(name, array)
        lengths = {name: len(a) for name, a in self.arrays().items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"arrays of different lengths: {lengths}", "give each the same number of samples")
        if not self.inputs or not next(iter(lengths.values())):
            raise InputError("the data is empty", "give at least one sample of each input")
        if self.groups is not None and (self.groups.ndim != 1 or self.groups.dtype.kind not in "iu"):
            raise InputError(
                f"groups are {self.groups.dtype.name} {list(self.groups.shape)}", "give one whole number a sample"
            )

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name, as it is stored."""
        extra = {TARGET: self.target, GROUPS: self.groups}
        return dict(self.inputs) | {k: v for k, v in extra.items() if v is not None}

    def take(self, which: slice | np.ndarray) -> Self:
        """The chosen samples."""
        return self.of({name: a[which] for name, a in self.arrays().items()})

    def spread(self, count: int) -> Self:
        """So many samples at most, at even distances, since data often comes sorted."""
        if count >= len(self):
            return self
        return self.take(np.unique(np.linspace(0, len(self) - 1, count).round().astype(int)))

    def with_target(self, target: np.ndarray) -> Self:
        return replace(self, target=target)

    def batches(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        """Contiguous input arrays of `size` samples at a time; the last may be shorter."""
        for start in range(0, len(self), size):
            yield {k: np.ascontiguousarray(v[start : start + size]) for k, v in self.inputs.items()}

    def check(self, signature: Signature, what: str) -> Self:
        """See that a model of this signature can take every sample.

        Args:
            signature: of the model; nothing is converted for it.
            what: the word for this data in the sentence: calibrate, validate, test.

        Raises:
            InputError: a wrong name, dtype or shape, or a value that is not finite.
        """
        expected = {t.name: t for t in signature.inputs}
        if reserved := {TARGET, GROUPS} & set(expected):
            raise InputError(
                f"the model has an input called {reserved.pop()!r}, which is the name of labels or groups here",
                "rename that input in the model",
            )
        for name, array in self.inputs.items():
            if name in expected and array.dtype.name != expected[name].dtype:
                raise InputError(
                    f"{what}: {name!r} is {array.dtype.name} where the model takes {expected[name].dtype}",
                    f"convert it with .astype(np.{expected[name].dtype}) before it is saved",
                )
        try:
            signature.check(self._call(signature))
        except InputError as fault:
            raise InputError(f"{what}: {fault.what}", fault.mend) from fault
        return self.finite(what)

    def _call(self, signature: Signature) -> dict[str, np.ndarray]:
        """What one call would take: views of all samples, or, where the batch is fixed, that many."""
        if signature.batch is not None:
            return dict(self.inputs)
        return {k: np.broadcast_to(v[:1], (signature.fixed_batch, *v.shape[1:])) for k, v in self.inputs.items()}

    def axes(self, signature: Signature) -> dict[str, int]:
        """Length of each free axis other than the batch, by name, in a call with these samples."""
        shapes = ((t.shape[1:], self.inputs[t.name].shape[1:]) for t in signature.inputs if t.name in self.inputs)
        pairs = ((axis, int(n)) for said, real in shapes for axis, n in zip(said, real, strict=False))
        return {axis: n for axis, n in pairs if isinstance(axis, str)}

    def finite(self, what: str) -> Self:
        """
        Raises:
            InputError: a value is NaN or infinite; says in which sample.
        """
        for name, array in self.arrays().items():
            if array.dtype.kind == "f":
                for start in range(0, len(self), _PIECE):
                    bad = ~np.isfinite(array[start : start + _PIECE])
                    if bad.any():
                        row = start + int(np.argwhere(bad)[0][0])
                        raise InputError(
                            f"{what}: {name!r} has a value that is not finite in sample {row}", "remove or repair it"
                        )
        return self

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """From arrays by name; `target` and `groups` are what they say, every other one is an input."""
        return cls(
            {k: v for k, v in arrays.items() if k not in (TARGET, GROUPS)}, arrays.get(TARGET), arrays.get(GROUPS)
        )

    def save(self, folder: Path) -> Self:
        """Store as a folder of .npy files and return the same data memory-mapped from there."""
        for name, array in self.arrays().items():
            files.write(folder / file_name(name), partial(_save, array))
        return self.load(folder)

    @classmethod
    def load(cls, path: str | Path, cache: Path | None = None) -> Self:
        """Read a folder of .npy files, or an .npz archive (unpacked once); memory-mapped in either case.

        Args:
            path: names of arrays are input names, `target` and `groups`.
            cache: where archives are unpacked; None: this machine's cache.

        Raises:
            InputError: not there, not numpy's format, pickled objects inside, lengths that differ, no samples.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"{path} does not exist", "check the path")
        folder = path if path.is_dir() else unpacked(path, cache or files.cache_folder() / "data")
        try:
            return cls.of({array_name(f): _map(f) for f in sorted(folder.glob("*.npy"))})
        except InputError as fault:
            raise InputError(f"{path}: {fault.what}", fault.mend) from fault

    def digest(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes."""
        state = hashlib.sha256()
        for name, array in sorted(self.arrays().items()):
            state.update(f"{name} {array.dtype} {array.shape}".encode())
            for start in range(0, len(array), 1024):
                state.update(np.ascontiguousarray(array[start : start + 1024]).tobytes())
        return state.hexdigest()


def _plain(name: str, array: object) -> None:
    """One array of numbers with an axis of samples, in this machine's byte order."""
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name!r} is of type {type(array).__name__}", "give a numpy array")
    if array.dtype.kind not in "biufV" or array.dtype.fields:
        raise InputError(f"{name!r} holds {array.dtype.name}, not numbers", "give an array of numbers")
    if not array.dtype.isnative:
        raise InputError(f"{name!r} has foreign byte order", "convert it with .astype(array.dtype.newbyteorder('='))")
    if not array.ndim:
        raise InputError(f"{name!r} is a single number", "give an array with samples along its first axis")


def _map(file: Path) -> np.ndarray:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as fault:  # numpy has several for a damaged file
        raise InputError(
            f"{file.name} cannot be read ({str(fault).splitlines()[0]})", "save it with numpy, without objects"
        ) from fault
    return np.asarray(array)


def _save(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
