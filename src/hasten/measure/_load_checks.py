"""Is a figure under load an honest one? The answers are those at rest, and a sample that comes again is no faster."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hasten.bundle import Bundle
from hasten.measure import machine
from hasten.measure._load_samples import Samples
from hasten.measure._load_settings import repeated
from hasten.measure._load_work import Work
from hasten.measure._loadgen_log import answers, outputs
from hasten.task import Task

PAIRS = 3  # of short runs: the same sample, and distinct ones
CACHED = 0.8  # of the time of distinct samples: a sample that comes again is not to take less than that


def answers_check(out: Path, rest: Path, samples: Samples, task: Task | None, bundle: Bundle | None) -> dict[str, Any]:
    """Whether the answers that LoadGen kept are the bundle's answers at rest, byte for byte.

    Args:
        out, rest: folders of the run, and of the outputs at rest.
        task, bundle: of an accuracy run: labels give an accuracy under load, at rest, and in the bundle.
    """
    alone = at_rest(rest)
    kept: dict[int, bytes] = {}
    other: set[int] = set()
    seen = 0
    for index, answer in answers(out):
        seen += 1
        kept[index] = answer
        if answer != bytes_of(alone, index):
            other.add(index)
    made = {"name": "answers", "passed": bool(seen) and not other, "said": _compared(seen, len(other))}
    if bundle is None:
        return made | {"accuracy": None}
    if missing := samples.count - len(kept):
        return made | {"passed": False, "said": f"{missing} samples were never answered", "accuracy": None}
    scored = _accuracy(outputs(kept, alone), alone, samples, task, bundle)
    if scored and not scored.pop("agrees"):
        made |= {"passed": False, "said": f"{made['said']}; {scored['said']}"}
    return made | {"accuracy": scored}


def at_rest(folder: Path) -> list[np.ndarray]:
    """The outputs [N, ...] that Loaded.rest has written there, memory-mapped."""
    return [np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(len(list(folder.glob("*.npy"))))]


def bytes_of(alone: Sequence[np.ndarray], index: int) -> bytes:
    """The answer to a sample as runners give it: the bytes of all outputs, one after the other."""
    return b"".join(array[index].tobytes() for array in alone)


def _compared(seen: int, other: int) -> str:
    if not seen:
        return "LoadGen has kept no answer"
    if other:
        return f"{other} samples are answered otherwise under load than at rest"
    return f"{seen} answers under load are those at rest, byte for byte"


def _accuracy(
    loaded: list[np.ndarray], alone: list[np.ndarray], samples: Samples, task: Task | None, bundle: Bundle
) -> dict[str, Any] | None:
    """The metric of the task under load, at rest and in the bundle; None without labels.

    Where the bundle was made on a processor like this one, its own figure has to come out too.
    """
    if task is None or samples.labels is None or task.measure.reference:
        return None
    metric, names = task.measure, [t.name for t in bundle.signature.outputs]
    load, rest = (
        float(metric.total(np.asarray(metric.rows(dict(zip(names, found, strict=True)), samples.labels))))
        for found in (loaded, [np.asarray(array) for array in alone])
    )
    measured = bundle.measurements
    comparable = samples.whole and measured.get("split") == samples.source
    comparable = comparable and measured.get("n_samples") == samples.count
    shipped = measured.get("accuracy") if comparable else None
    here = bundle.conditions.get("cpu") == machine.cpu()
    said = f"{metric.name} {load:.6g} under load, {rest:.6g} at rest"
    said += "" if shipped is None else f", {shipped:.6g} in the bundle"
    said += "" if shipped in (None, rest) or here else ", which was made on another processor"
    agrees = load == rest and (shipped is None or shipped == rest or not here)
    return {"metric": metric.name, "split": samples.source, "samples": samples.count, "under_load": load,
            "at_rest": rest, "in_bundle": shipped, "said": said, "agrees": agrees}  # fmt: skip


def repeated_check(work: Work, bundle: Bundle) -> dict[str, Any]:
    """Whether a sample that comes again and again is answered markedly faster than distinct ones: so a cache shows."""
    made: dict[str, Any] = {"name": "repeated", "passed": None, "accuracy": None}
    if any(stage.unless for stage in bundle.stages):
        return made | {"said": "the time of this bundle depends on the sample: repeating one shows nothing"}
    count = work.samples.distinct_count
    if count < 2:
        return made | {"said": "no two samples of this bundle's inputs can be told apart: repeating one shows nothing"}
    ratios = []
    for _ in range(PAIRS):
        times = []
        for same in (False, True):
            settings = repeated(work.preset, work.probe, count, work.seed, same)
            run, _ = work.run(settings, work.samples.distinct)
            times.append(run["percentiles"]["p50"])
        ratios.append(times[1] / times[0])
    ratio = statistics.median(ratios)
    said = f"the same sample takes {ratio:.3f} of the time of {count} distinct ones"
    passed = ratio >= CACHED
    return made | {"passed": passed, "said": said + ("" if passed else ": answers are cached")}
