"""Every engine side by side on one model as it is: the rows of `hasten measure`."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hasten.data import Data
from hasten.engine import Engine
from hasten.errors import HastenError, InputError
from hasten.measure.energy import energy
from hasten.measure.flops import count
from hasten.measure.latency import Race, race
from hasten.measure.lock import quiet
from hasten.measure.profiled import profiled
from hasten.measure.stand import Entrant, Stand
from hasten.measure.threads import best_threads
from hasten.model import OnnxModel, Signature

LAUNCHES = 3  # fresh processes an engine gets: another is another draw of memory layout
SAMPLES = 64
ENERGY_KEEP = 50  # calls between two looks at the clock, while energy is counted


def survey(
    model: OnnxModel,
    engines: Sequence[Engine],
    feed: Path,
    task_file: Path | None = None,
    seed: int = 0,
    roofline: bool = False,
) -> list[dict[str, Any]]:
    """Race the engines against each other, each in a process of its own.

    Args:
        model: saved, so that it has a path.
        engines: with their settings; where `threads` is 0 the fastest number is found first.
        feed: folder of .npy with real or random samples.
        task_file: what an engine that takes torch models runs; without it such an engine is left out with a reason.
        seed: of the order in which the engines take turns.
        roofline: what each layer takes and achieves as well, beside what the machine can do.

    Returns:
        A row an engine, in the order given; one that could not run has a `reason` and no figures. With `roofline`
        that of each row, as `profiled` gives it.
    """
    rows: list[dict[str, Any]] = []
    free = any(isinstance(axis, str) for tensor in model.signature.inputs for axis in tensor.shape[1:])
    axes = Data.load(feed).axes(model.signature) if free else {}
    facts = {"params": model.params, "macs": count(model, axes).macs, "size_mb": model.size_mb}
    with quiet(), ExitStack() as stack:
        stands: list[Stand] = []
        for engine in engines:
            try:
                tuned, stand = _started(engine, model, feed, task_file)
            except HastenError as fault:
                rows.append({"engine": str(engine), "reason": str(fault)})
                continue
            stands.append(stack.enter_context(stand))
            rows.append({"engine": str(tuned), "reason": "", "precision": tuned.precision, **facts})
        if stands:
            timed = race(stands, launches=LAUNCHES, seed=seed)
            samples = 1 if model.signature.batch else model.signature.fixed_batch
            for place, row in enumerate([row for row in rows if not row["reason"]]):
                row |= _figures(timed, place, stands[place], row["precision"], samples)
                if roofline:
                    row["roofline"] = profiled(stands[place], model, axes)
    return rows


def _started(engine: Engine, model: OnnxModel, feed: Path, task_file: Path | None) -> tuple[Engine, Stand]:
    name = type(engine).__module__.rpartition(".")[2]
    path = task_file if engine.takes == "torch" else model.path
    if path is None:
        raise InputError(f"{name} runs torch models", "give a task file")
    if not engine.threads:
        engine = replace(engine, threads=best_threads(path, name, vars(engine), feed))
    return engine, Stand(Entrant(path, name, vars(engine)), feed)


def _figures(timed: Race, place: int, stand: Stand, precision: str, samples: int) -> dict[str, Any]:
    latency, share, ways = timed.latency(place), stand.facts["int8_share"], stand.ways()
    per_s, batch = stand.throughput()
    mean = {} if latency.mean_ms is None else {"latency_mean_ms": latency.mean_ms}
    return {
        **mean,
        **ways,
        "energy": energy(lambda: samples * len(stand.burst(drop=0, keep=ENERGY_KEEP))),
        "precision": "int8" if share else precision,
        "int8_share": share,
        "latency_p50_ms": latency.p50_ms,
        "latency_p90_ms": latency.p90_ms,
        "latency_p99_ms": latency.p99_ms,
        "throughput_per_s": per_s,
        "throughput_batch": batch,
        "peak_memory_mb": stand.peak_memory_mb(),
    }


def random_samples(signature: Signature, seed: int) -> Data:
    """Inputs for a model of which only the file is here: normal floats, zeros for whole numbers (they may be indices).

    Raises:
        InputError: an axis other than the batch is free, so that nobody knows how large it is in use; or it takes none.
    """
    if not signature.inputs:
        raise InputError("the model takes no inputs, so it answers the same each time", "there is nothing to measure")
    rng = np.random.default_rng(seed)
    made = {}
    for tensor in signature.inputs:
        if free := [axis for axis in tensor.shape[1:] if isinstance(axis, str)]:
            raise InputError(
                f"the input {tensor} has the free axis {free[0]}", "give samples of the size in use: --data F.npz"
            )
        kind, shape = np.dtype(tensor.dtype), (SAMPLES, *(int(n) for n in tensor.shape[1:]))
        made[tensor.name] = rng.normal(size=shape).astype(kind) if kind.kind == "f" else np.zeros(shape, kind)
    return Data(made)
