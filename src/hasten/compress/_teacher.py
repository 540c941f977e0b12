"""What a network answers to all of some data; a teacher's answers are computed once and kept in the cache."""

import hashlib
from collections.abc import Mapping

import numpy as np

from hasten import files
from hasten.data import Data
from hasten.engines.torch import call
from hasten.model import TorchModel

CALL = 256  # samples a call, where the batch is free
FEW = 8  # by which a teacher is known


def taught(teacher: TorchModel, data: Data) -> Mapping[str, np.ndarray]:
    """Answers of all samples by output name, [N, ...], mapped into memory."""
    folder = files.cache_folder() / "teachers" / f"{_known(teacher, data)}-{data.digest()[:20]}"
    names = sample_wise(teacher)
    if not (folder / ".whole").exists():
        answers = answers_of(teacher, data)
        Data({str(place): answers[name] for place, name in enumerate(names)}).save(folder)
        files.write(folder / ".whole", "")
    kept = Data.load(folder).inputs
    return {name: kept[str(place)] for place, name in enumerate(names)}


def _known(teacher: TorchModel, data: Data) -> str:
    """A network by its weights and by a few answers: with the same weights, `forward` may do something else."""
    told = hashlib.sha256(teacher.digest().encode())
    for answer in answers_of(teacher, data.take(slice(0, FEW))).values():
        told.update(np.ascontiguousarray(answer).tobytes())
    return told.hexdigest()[:20]


def answers_of(model: TorchModel, data: Data) -> dict[str, np.ndarray]:
    """Answers of all samples by output name, [N, ...]; a fixed batch is filled up from the first samples."""
    free = model.signature.batch is not None
    size = CALL if free else model.signature.fixed_batch
    parts = []
    for start in range(0, len(data), size):
        rows = np.arange(start, min(start + size, len(data)) if free else start + size) % len(data)
        parts.append(call(model.module, {t.name: data.inputs[t.name][rows] for t in model.signature.inputs}))
    return {name: np.concatenate([p[name] for p in parts])[: len(data)] for name in sample_wise(model)}


def sample_wise(model: TorchModel) -> list[str]:
    """The outputs that have an answer for each sample."""
    batch = model.signature.inputs[0].shape[:1]
    return [t.name for t in model.signature.outputs if t.shape[:1] == batch]
