"""Data: named input arrays, what they should give, and which samples belong together."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from hasten import files
from hasten.errors import InputError
from hasten.model import Signature

TARGET, GROUPS = "target", "groups"  # names that are not inputs


@dataclass(frozen=True, eq=False)
class Data:
    """N samples.

    Attributes:
        inputs: input name -> array [N, ...], possibly memory-mapped.
        target: array [N, ...] of labels or reference answers; None where only the original model can say.
        groups: int array [N], equal for samples that must be resampled together (one game, one video); None: each its own.
    """

    inputs: Mapping[str, np.ndarray]
    target: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(a) for name, a in self.arrays().items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"arrays of different lengths: {lengths}", "give each the same number of samples")
        if not self.inputs or not next(iter(lengths.values())):
            raise InputError("the data is empty", "give at least one sample")

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name, as it is stored."""
        extra = {TARGET: self.target, GROUPS: self.groups}
        return dict(self.inputs) | {k: v for k, v in extra.items() if v is not None}

    def take(self, which: slice | np.ndarray) -> Self:
        """The chosen samples."""
        return self.of({name: a[which] for name, a in self.arrays().items()})

    def with_target(self, target: np.ndarray) -> Self:
        return replace(self, target=target)

    def batches(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        """Contiguous input arrays of `size` samples at a time; the last may be shorter."""
        for start in range(0, len(self), size):
            yield {k: np.ascontiguousarray(v[start:start + size]) for k, v in self.inputs.items()}

    def check(self, signature: Signature, what: str) -> Self:
        """See that a model of this signature can take every sample.

        Raises:
            InputError: a wrong name, dtype or shape, or a value that is not finite.
        """
        step = 4096
        for start in range(0, len(self), step):
            feed = {k: v[start:start + step] for k, v in self.inputs.items()}
            if signature.batch is None:  # a call takes a fixed number of samples: look at one call's worth
                feed = {k: np.resize(v, (signature.fixed_batch, *v.shape[1:])) for k, v in feed.items()}
            try:
                signature.check(feed)
            except InputError as fault:
                raise InputError(f"{what}: {fault.what}", fault.mend) from fault
        for name, array in self.arrays().items():
            if array.dtype.kind == "f":
                for start in range(0, len(self), step):
                    bad = ~np.isfinite(array[start:start + step])
                    if bad.any():
                        row = start + int(np.argwhere(bad)[0][0])
                        raise InputError(f"{what}: {name!r} has a value that is not finite in sample {row}", "remove or repair it")
        return self

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """From arrays by name; `target` and `groups` are what they say, every other one is an input."""
        return cls({k: v for k, v in arrays.items() if k not in (TARGET, GROUPS)}, arrays.get(TARGET), arrays.get(GROUPS))

    def save(self, folder: Path) -> Self:
        """Store as a folder of .npy files and return the same data memory-mapped from there."""
        for name, array in self.arrays().items():
            files.write(folder / f"{name}.npy", lambda path, a=array: _save(path, a))
        return self.load(folder)

    @classmethod
    def load(cls, path: str | Path, cache: Path | None = None) -> Self:
        """Read a folder of .npy files (memory-mapped) or an .npz archive (converted once into `cache`, then mapped).

        Raises:
            InputError: not there, not numpy's format, pickled objects inside, lengths that differ, no samples.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"{path} does not exist", "check the path")
        try:
            if path.is_dir():
                return cls.of({f.stem: np.load(f, mmap_mode="r", allow_pickle=False) for f in sorted(path.glob("*.npy"))})
            with np.load(path, allow_pickle=False) as archive:
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise InputError(f"{path} is a single array", "save with np.savez(path, <input name>=..., target=...)")
                if cache is None:
                    return cls.of(dict(archive))
                folder = cache / files.sha256(path)[:16]
                if not (folder / ".whole").exists():
                    for name in archive.files:
                        files.write(folder / f"{name}.npy", lambda aside, n=name: _save(aside, archive[n]))
                    files.write(folder / ".whole", "")
                return cls.load(folder)
        except InputError as fault:
            raise InputError(f"{path}: {fault.what}", fault.mend) from fault
        except Exception as fault:  # zipfile, numpy and struct each have their own for a damaged file
            raise InputError(f"{path} cannot be read ({fault})", "save it with np.savez, without pickled objects") from fault

    def digest(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes."""
        state = hashlib.sha256()
        for name, array in sorted(self.arrays().items()):
            state.update(f"{name} {array.dtype} {array.shape}".encode())
            for start in range(0, len(array), 1024):
                state.update(np.ascontiguousarray(array[start:start + 1024]).tobytes())
        return state.hexdigest()


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
