"""Runs what is compared, in a child process a side: files whole, files cut into pieces, and bundles."""

import contextlib
import itertools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx

from hasten import find
from hasten.child import Child, ChildDied
from hasten.data import Data
from hasten.engine import Engine, Session
from hasten.errors import InputError
from hasten.measure.accuracy import cut
from hasten.model import Arrays, OnnxFile, OnnxModel, Signature

SAMPLES = 8  # a call, where the batch is free
_RUN_S = 600.0  # for one file; what hangs, not what is slow


class Runner:
    """The child's side; made without arguments. Arrays travel as .npy files."""

    def run(
        self,
        model: str,
        signature: Mapping[str, Any],
        engine: str,
        settings: Mapping[str, Any],
        feed: Mapping[str, str],
        out: str,
    ) -> list[str]:
        """One call of a file; the i-th of its outputs goes to `out`/i.npy. Their names, in that order."""
        file = OnnxFile(Path(model), Signature.from_json(signature))
        arrays = {name: np.load(path) for name, path in feed.items()}
        with find.engine(engine)(**settings).compile(file) as session:
            try:
                answer = session.compiled.run(arrays)
            except Exception as fault:  # the signature's shapes are not looked at: those of cut tensors are not known
                said = (str(fault).strip().splitlines() or [type(fault).__name__])[-1]
                raise InputError(f"{engine} fails on it: {said[:300]}", "try another engine") from fault
            return _saved(answer, Path(out))

    def answers(self, model: str, engine: str, settings: Mapping[str, Any], data: str, out: str) -> list[str]:
        """A file's answers to all samples of a folder of .npy."""
        file = OnnxFile(Path(model), OnnxModel.load(model).signature)
        with find.engine(engine)(**settings).compile(file) as session:
            found = answered(session, Data.load(data))
        return _saved(found, Path(out))

    def bundled(self, folder: str, data: str, out: str) -> list[str]:
        """A bundle's outputs for all prepared samples of a folder of .npy."""
        from hasten.bundle import Bundle

        with Bundle.load(folder, verify=False) as bundle:
            parts = [bundle.infer(feed) for feed in Data.load(data).batches(SAMPLES)]
        return _saved(joined(parts), Path(out))


def answered(session: Session, samples: Data) -> dict[str, np.ndarray]:
    """A session's answers to all samples, some at a time; a fixed batch is filled up with the first ones.

    Raises:
        InputError: as `joined`, or the engine fails.
    """
    free, parts = session.signature.batch is not None, []
    size = SAMPLES if free else session.signature.fixed_batch
    for start in range(0, len(samples), size):
        count = min(size, len(samples) - start)
        found = session(cut(samples, start, count if free else size))
        parts.append({name: array[:count] if array.ndim else array for name, array in found.items()})
    return joined(parts)


def joined(parts: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """Answers one after another along the axis of samples.

    Raises:
        InputError: an output without such an axis, or of a shape that changes.
    """
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except ValueError as fault:
        raise InputError(f"its outputs cannot be put together: {fault}", "give samples of one shape") from fault


def _saved(arrays: Arrays, out: Path) -> list[str]:
    out.mkdir(parents=True)
    for place, array in enumerate(arrays.values()):
        np.save(out / f"{place}.npy", array)
    return list(arrays)


class Runs:
    """The parent's side: one engine with settings, in a child that is started again when it has died."""

    def __init__(self, engine: Engine, scratch: Path) -> None:
        """
        Args:
            scratch: a folder of its own, for what goes to the child and comes back.
        """
        self.engine, self._scratch = engine, scratch
        self._numbers = itertools.count()
        self._child: Child | None = None
        scratch.mkdir(parents=True)

    def run(self, model: onnx.ModelProto, feed: Arrays) -> dict[str, np.ndarray]:
        """Every output of one call, memory-mapped: good until `clear`.

        Raises:
            InputError: the engine refuses the file, fails or dies of it.
        """
        file, paths = self._fresh("model.onnx"), {}
        signature = OnnxModel(model).save(file).signature.to_json()
        del model  # it may be as large as all that the child will need
        for place, (name, array) in enumerate(feed.items()):
            paths[name] = str(file.with_name(f"{place}.npy"))
            np.save(paths[name], array)
        told = {"model": str(file), "signature": signature, "feed": paths}
        return self._called("run", file.with_name("out"), **told, **self._named())

    def answers(self, model: OnnxModel, samples: Data) -> dict[str, np.ndarray]:
        """Outputs of all samples, [N, ...].

        Raises:
            InputError: as `run`; or outputs without an axis for samples.
        """
        file = self._fresh("model.onnx")
        model.save(file)
        samples.save(file.with_name("data"))
        data = str(file.with_name("data"))
        return self._called("answers", file.with_name("out"), model=str(file), data=data, **self._named())

    def bundled(self, folder: Path, samples: Data) -> dict[str, np.ndarray]:
        """Outputs of a bundle for all samples, prepared.

        Raises:
            InputError, MissingError: it cannot be run.
        """
        data = self._fresh("data")
        samples.save(data)
        return self._called("bundled", data.with_name("out"), folder=str(folder), data=str(data))

    def clear(self) -> None:
        """Forget all arrays that were handed out."""
        for folder in self._scratch.iterdir():
            shutil.rmtree(folder)

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _called(self, method: str, out: Path, **arguments: Any) -> dict[str, np.ndarray]:
        if self._child is None:
            self._child = Child("hasten.diagnose.differ.runner:Runner")
        try:
            names = self._child.call(method, _RUN_S, out=str(out), **arguments)
        except ChildDied:
            self.close()
            raise
        finally:
            with contextlib.suppress(FileNotFoundError):
                (out.parent / "model.onnx").unlink()
        return {name: np.load(out / f"{place}.npy", mmap_mode="r") for place, name in enumerate(names)}

    def _named(self) -> dict[str, Any]:
        return {"engine": type(self.engine).__module__.rpartition(".")[2], "settings": dict(vars(self.engine))}

    def _fresh(self, name: str) -> Path:
        folder = self._scratch / str(next(self._numbers))
        folder.mkdir()
        return folder / name
