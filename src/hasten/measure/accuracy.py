"""Answers of one session to a whole data set, written to disk: what a metric's rows are computed from."""

import shutil
from pathlib import Path

import numpy as np

from hasten import files
from hasten.data import Data
from hasten.engine import Session
from hasten.errors import InputError

BATCH = 32  # samples a call, where a batch answers as single calls do
SAME = 1e-3  # of the largest answer: rounding that depends on the batch is less, a scale taken from a batch is more


def answer(session: Session, samples: Data, out: Path) -> list[str]:
    """Answer every sample; the i-th output goes to `out`/i.npy as an array [N, ...]. `out` is whole or absent.

    The answers are those of single calls, as latency is timed: samples go in batches only where the first batch gives
    the same. It does not where a scale is taken from the whole batch (dynamic INT8). A fixed batch is filled up by
    repeating samples, and the answers to those are dropped.

    Returns:
        The outputs' names, in the order of the files.

    Raises:
        InputError: an output has no axis for the samples in front, or its shape differs from call to call.
    """
    size = batch_size(session, samples)
    aside = out.with_name(f".{out.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    with files.writing(out):
        aside.mkdir(parents=True)
        rows: dict[str, np.ndarray] = {}
        for start in range(0, len(samples), size):
            count = min(size, len(samples) - start)
            for name, found in _call(session, samples, start, count if session.signature.batch else size).items():
                if name not in rows:
                    file, shape = aside / f"{len(rows)}.npy", (len(samples), *found.shape[1:])
                    rows[name] = np.lib.format.open_memmap(file, "w+", found.dtype, shape)
                if found.shape[1:] != rows[name].shape[1:]:
                    raise InputError(
                        f"the output {name!r} changes its shape from call to call", "give answers of one shape"
                    )
                rows[name][start : start + count] = found[:count]
    names = list(rows)
    rows.clear()  # unmapped, and so written
    files.replace_folder(aside, out)
    return names


def cut(samples: Data, start: int, count: int) -> dict[str, np.ndarray]:
    """Inputs by name, contiguous, of `count` samples from `start` on; after the last comes the first again."""
    which = np.arange(start, start + count) % len(samples)
    return {name: np.ascontiguousarray(array[which]) for name, array in samples.inputs.items()}


def batch_size(session: Session, samples: Data) -> int:
    """How many samples a call may take: the fixed batch, or `BATCH` where that answers like single calls, or 1."""
    if session.signature.batch is None:
        return session.signature.fixed_batch
    count = min(BATCH, len(samples))
    singles = [_copied(_call(session, samples, i, 1)) for i in range(count)]
    together = _call(session, samples, 0, count)
    for name, found in together.items():
        single = np.concatenate([s[name] for s in singles])
        if single.shape != found.shape or not _close(single, found):
            return 1
    return BATCH


def _call(session: Session, samples: Data, start: int, count: int) -> dict[str, np.ndarray]:
    found = session(cut(samples, start, count))
    for name, array in found.items():
        if array.shape[:1] != (count,):
            raise InputError(
                f"the output {name!r} has shape {list(array.shape)} for {count} samples",
                "put the samples on its first axis",
            )
    return found


def _copied(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """An engine may use its arrays again in the next call."""
    return {name: array.copy() for name, array in arrays.items()}


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype.kind not in "fc":
        return bool(np.array_equal(a, b))
    return bool(np.abs(a.astype(np.float64) - b).max(initial=0.0) <= SAME * np.abs(a).max(initial=0.0))
