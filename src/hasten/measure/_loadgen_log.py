"""LoadGen's own logs of a run, read: whether it is valid and why not, percentiles, and the answers that it kept."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.measure._load_settings import Settings

DETAIL, ACCURACY = "mlperf_log_detail.txt", "mlperf_log_accuracy.json"
CONFIDENCE = 0.99
_MARK = ":::MLLOG "
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
_REASONS = {
    "result_min_duration_met": "it ended before its shortest duration",
    "result_min_queries_met": "it ended before it had enough queries",
    "result_perf_constraints_met": "the latency bound is not held",
    "early_stopping_met": "too few queries for what early stopping asks",
}


def enough(quantile: float) -> int:
    """The fewest samples of which at least two lie beyond a quantile with 99 % certainty: 64 for p90, 662 for p99."""
    count = 2
    while quantile**count + count * (1 - quantile) * quantile ** (count - 1) > 1 - CONFIDENCE:
        count += 1 if quantile < 0.995 else 4
    return count


def run_of(folder: Path, settings: Settings) -> dict[str, Any]:
    """What LoadGen says of the run that left its logs in `folder`; spec/load.schema.json says what each key means.

    Raises:
        InputError: the logs are not there, or not whole: the test did not come to its end.
    """
    seen, errors = _detail(folder / DETAIL)
    accurate = settings.mode == "accuracy"
    duration_s = _seconds(seen)
    made: dict[str, Any] = {"scenario": settings.scenario, "mode": settings.mode}
    if accurate:
        made |= {"valid": not errors, "reasons": errors, "queries": None, "samples": settings.samples}
        made |= {"duration_s": duration_s, "qps": None, "percentiles": None, "early_stopping": None}
        return made | {"percentiles_said": "an accuracy run is not timed"}
    queries = seen["result_query_count"]
    samples = queries * settings.samples_per_query
    if settings.scenario == "Offline":
        samples = seen["generated_samples_per_query"]
    valid = seen["result_validity"] == "VALID"
    reasons = [why for key, why in _REASONS.items() if seen.get(key) is False]
    if not valid and not reasons:
        reasons = [str(seen.get("result_invalid_reason", "LoadGen gives no reason"))]
    percentiles, said = _percentiles(seen, settings, queries)
    made |= {"valid": valid and not errors, "reasons": reasons + errors, "queries": queries, "samples": samples}
    made |= {"duration_s": duration_s, "qps": _rate(seen, settings, samples, duration_s)}
    made |= {"percentiles": percentiles, "percentiles_said": said, "early_stopping": _early(seen, settings)}
    return made


def answers(folder: Path) -> Iterator[tuple[int, bytes]]:
    """The answers that LoadGen kept: (number of the sample, bytes).

    Raises:
        InputError: there is no such log, or it is damaged.
    """
    path = folder / ACCURACY
    try:
        found = json.loads(path.read_text())
        yield from ((int(one["qsl_idx"]), bytes.fromhex(one["data"])) for one in found)
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InputError(f"{path.name} of LoadGen cannot be read ({fault})", "measure again") from fault


def outputs(kept: Mapping[int, bytes], rest: list[np.ndarray]) -> list[np.ndarray]:
    """Answers of samples 0, 1, ... as outputs [N, ...], of the types and shapes that they have at rest."""
    raw = np.frombuffer(b"".join(kept[i] for i in range(len(kept))), np.uint8).reshape(len(kept), -1)
    made, start = [], 0
    for array in rest:
        width = array[0].nbytes
        piece = np.ascontiguousarray(raw[:, start : start + width])
        made.append(piece.view(array.dtype).reshape(len(kept), *array.shape[1:]))
        start += width
    return made


def _detail(path: Path) -> tuple[dict[str, Any], list[str]]:
    """key -> value, the last of each, and what LoadGen calls errors."""
    seen: dict[str, Any] = {}
    errors: list[str] = []
    try:
        for line in path.read_text().splitlines():
            if line.startswith(_MARK):
                entry = json.loads(line.removeprefix(_MARK))
                seen[entry["key"]] = entry["value"]
                if entry.get("metadata", {}).get("is_error"):
                    errors.append(f"{entry['key']}: {entry['value']}")
    except (OSError, ValueError, KeyError) as fault:
        raise InputError(f"LoadGen's log cannot be read ({fault})", "measure again") from fault
    if "power_end" not in seen:
        raise InputError("LoadGen did not come to its end", "measure again; look into its log with --logs FOLDER")
    return seen, errors


def _seconds(seen: Mapping[str, Any]) -> float:
    """From the first query to the last answer."""
    begin, end = (datetime.strptime(seen[f"power_{side}"], "%m-%d-%Y %H:%M:%S.%f") for side in ("begin", "end"))
    return (end - begin).total_seconds()


def _rate(seen: Mapping[str, Any], settings: Settings, samples: int, duration_s: float) -> float | None:
    """Samples a second: LoadGen's own figure where it gives one."""
    named = {
        "SingleStream": "result_qps_with_loadgen_overhead",
        "Server": "result_completed_samples_per_sec",
        "Offline": "result_samples_per_second",
    }.get(settings.scenario, "")
    rate = float(seen.get(named, samples / duration_s if duration_s else math.inf))
    return rate if math.isfinite(rate) else None


def _percentiles(
    seen: Mapping[str, Any], settings: Settings, queries: int
) -> tuple[dict[str, float | None] | None, str]:
    """In ms, of queries; None where there are too few of them. And what is to be said of it."""
    if settings.scenario == "Offline":
        return None, "all samples are one query: a sample waits for those before it"
    kind = "per_query_latency" if settings.scenario == "MultiStream" else "latency"
    figures: dict[str, float | None] = {}
    missing = []
    for name, quantile in QUANTILES.items():
        needed = enough(quantile)
        if queries >= needed:
            figures[name] = seen[f"result_{100 * quantile:.2f}_percentile_{kind}_ns"] / 1e6
        else:
            figures[name] = None
            missing.append(f"{name} ({needed} are needed)")
    return figures, f"{queries} queries are too few samples for {', '.join(missing)}" if missing else ""


def _early(seen: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
    """What early stopping says: the percentile that the scenario is judged by, with 99 % certainty."""
    if settings.scenario == "Offline":
        return None
    key = {"SingleStream": "early_stopping_latency_ss", "MultiStream": "early_stopping_latency_ms"}
    estimate_ns = seen.get(key.get(settings.scenario, ""), 0)
    met = bool(seen["early_stopping_met"])
    said = re.sub(r"\s*\*\s*", "; ", str(seen["early_stopping_result"])).removeprefix("; ").strip()
    return {
        "met": met,
        "percentile": settings.percentile,
        "estimate_ms": estimate_ns / 1e6 if met and estimate_ns else None,
        "said": " ".join(said.split()),
    }
