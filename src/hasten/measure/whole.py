"""A bundle from raw input to decision, and its model alone, in Python and in C++: the rows of `hasten measure BUNDLE`.

Each launch is a fresh process that calls the bundle on the raw samples of its golden cases, one call after the other,
on the processors that its threads get. Launches of the two runners take turns.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hasten import cpp
from hasten.bundle import Bundle
from hasten.child import Child
from hasten.errors import HastenError, InputError
from hasten.measure import machine
from hasten.measure.lock import quiet

LAUNCHES = 5  # of each runner, in turn
CALLS_S = 1.0  # of calls in a launch
WARM = 15  # calls before the first that is timed
CASES = "cases_p50_ms"
FIGURES = ("latency_p50_ms", "prepare_p50_ms", "model_p50_ms", "answer_p50_ms")
_LIMIT_S = 900.0  # for a launch; more is a hang


class Caller:
    """Made in the child: the bundle as Python runs it."""

    def bench(self, folder: str, seconds: float) -> dict[str, Any]:
        """Medians in ms of calls one after another, for `seconds`, and of each golden case."""
        parts: list[tuple[float, float, float]] = []
        with Bundle.load(folder, verify=False) as bundle:
            raw = [bundle.golden.raw(bundle.folder, i) for i in range(len(bundle.golden.cases))]
            over = time.perf_counter() + seconds
            while len(parts) < WARM + max(10, len(raw)) or time.perf_counter() < over:
                feed = raw[len(parts) % len(raw)]
                began = time.perf_counter()
                prepared = bundle.pipeline.prepared(feed)
                made = time.perf_counter()
                outputs = bundle.infer(prepared)
                inferred = time.perf_counter()
                bundle.pipeline.decide(outputs)
                parts.append((made - began, inferred - made, time.perf_counter() - inferred))
                if len(parts) == WARM:
                    over = time.perf_counter() + seconds
        prepare, model, answer = zip(*parts[WARM:], strict=True)
        whole = [sum(part) for part in parts[WARM:]]
        figures = zip(FIGURES, (whole, prepare, model, answer), strict=True)
        return {name: 1e3 * statistics.median(times) for name, times in figures} | {
            CASES: [1e3 * statistics.median(whole[(i - WARM) % len(raw) :: len(raw)]) for i in range(len(raw))]
        }


def end_to_end(folder: Path) -> list[dict[str, Any]]:
    """A row for Python and one for C++.

    Returns:
        `runner`; `reason`, why it cannot run the bundle, or empty, and then the medians over launches of `FIGURES`;
        `over_model`: end to end over model alone; `over_python`: this runner's end to end over Python's, the median of
        launches that ran one after the other, `over_python_range` the lowest and highest of them. Where stages are left
        out at times: `early_share` of the samples, as it was measured when the bundle was made, or else of the golden
        cases; `latency_mean_ms` at that share, end to end, and `latency_worst_ms` of cases that take every stage.
    """
    with Bundle.load(folder, verify=False) as bundle:
        threads = max(stage.settled().threads for stage in bundle.stages)
        early = _early(bundle)
    cpus = machine.cpus(threads)
    runners: dict[str, Callable[[Path, Sequence[int]], dict[str, Any]]] = {"Python": _python, "C++": _cpp}
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in runners}
    reasons = dict.fromkeys(runners, "")
    try:
        cpp.program()  # built before anything is timed
    except HastenError as fault:
        reasons["C++"] = str(fault)
    with quiet():
        for _ in range(LAUNCHES):
            for name, launch in runners.items():
                if reasons[name]:
                    continue
                try:
                    seen[name].append(_with_mean(launch(folder, cpus), *early) if early else launch(folder, cpus))
                except HastenError as fault:
                    reasons[name] = str(fault)
    return [_row(name, reasons[name], seen[name], seen["Python"]) for name in runners]


def _early(bundle: Bundle) -> tuple[float, list[bool]] | None:
    """Of a bundle whose stages are left out at times: the share of samples that leave early, and which golden cases do.

    None for others, and where the golden cases all go one way.
    """
    if not any(stage.unless for stage in bundle.stages):
        return None
    raw = (bundle.golden.raw(bundle.folder, i) for i in range(len(bundle.golden.cases)))
    leave = [not bundle.flow.further(bundle.pipeline.prepared(one))[0].any() for one in raw]
    if len(set(leave)) < 2:
        return None
    share = bundle.measurements.get("early_share")
    return (sum(leave) / len(leave) if share is None else float(share)), leave


def _with_mean(seen: dict[str, Any], share: float, leave: Sequence[bool]) -> dict[str, Any]:
    """A launch, with the mean over easy and hard samples in the proportion of real ones."""
    soon, late = ([ms for ms, one in zip(seen[CASES], leave, strict=True) if one == way] for way in (True, False))
    mean = share * statistics.mean(soon) + (1 - share) * statistics.mean(late)
    return {**seen, "early_share": share, "latency_mean_ms": mean, "latency_worst_ms": statistics.mean(late)}


def _row(name: str, reason: str, seen: list[dict[str, Any]], python: list[dict[str, Any]]) -> dict[str, Any]:
    if reason:
        return {"runner": name, "reason": reason}
    row: dict[str, Any] = {"runner": name, "reason": ""}
    varies = [figure for figure in ("early_share", "latency_mean_ms", "latency_worst_ms") if figure in seen[0]]
    row |= {figure: statistics.median(one[figure] for one in seen) for figure in (*FIGURES, *varies)}
    row["over_model"] = row["latency_p50_ms"] / row["model_p50_ms"]
    typical = "latency_mean_ms" if varies else "latency_p50_ms"
    ratios = [a[typical] / b[typical] for a, b in zip(seen, python, strict=False)]
    row["over_python"] = statistics.median(ratios) if ratios else None
    row["over_python_range"] = [min(ratios), max(ratios)] if ratios else None
    return row


def _python(folder: Path, cpus: Sequence[int]) -> dict[str, Any]:
    with Child("hasten.measure.whole:Caller", cpus=cpus) as child:
        return dict(child.call("bench", _LIMIT_S, folder=str(folder), seconds=CALLS_S))


def _cpp(folder: Path, cpus: Sequence[int]) -> dict[str, Any]:
    ended = cpp.call(folder, "--no-verify", "--bench", str(2 * CALLS_S), cpus=cpus)  # half of it one after the other
    if ended.returncode:
        raise InputError(ended.stderr.strip(), "run hasten verify --cpp on the bundle")
    return {name: json.loads(ended.stdout)[name] for name in (*FIGURES, CASES)}
