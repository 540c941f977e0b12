"""A bundle under the load of MLPerf's LoadGen: measured with LoadGen, which does not make it an MLPerf result.

A query's sample is one prepared sample in, the answer out: every stage of the bundle and its decision. A probe sets
the rates that LoadGen is told to expect; each test has a process of its own. Reddi et al. 2020, "MLPerf Inference
Benchmark".
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hasten import cpp
from hasten.bundle import Bundle
from hasten.errors import MissingError, UsageError
from hasten.measure._load_checks import answers_check, repeated_check
from hasten.measure._load_runner import SETTINGS, Cpp, Python, Runner
from hasten.measure._load_samples import gather
from hasten.measure._load_settings import QUICK, STRICT, Preset, Scenario, Settings, accuracy, performance
from hasten.measure._load_work import Say, Work, check_logs
from hasten.measure.lock import quiet
from hasten.task import Task

SAID = "measured with LoadGen, not an MLPerf result"
SAMPLE = "one prepared sample in, the answer out: every stage of the bundle, and its decision"
BOUND_MS, BOUND_TIMES = 10.0, 10.0  # Server: LoadGen's own bound; or so many times a call's time, where that is more
PROBE_S = 1.0
ATTEMPTS = 3  # at a run whose expectations were wrong
SEARCH_S, SEARCH_STEPS = 2.0, 6  # Server: a run of the search, and how many halve the range after its ends are known
LAST_STEPS, STEP = 6, 0.9  # Server: rates that the valid run is tried at, and from one to the next
LEAST = 64  # the search ends below the probe's rate over this, where nothing holds
NEAR = 1.05  # the search ends where its two ends are so near

Made = tuple[dict[str, Any], Settings, Path]  # what a run gave, what it was asked for, and the folder of its logs


def load(
    folder: Path,
    scenario: Scenario,
    *,
    strict: bool = False,
    in_cpp: bool = False,
    bound_ms: float | None = None,
    task: Task | None = None,
    logs: Path | None = None,
    seed: int = 0,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Run one scenario: a performance run, an accuracy run, and the checks that go with them.

    Args:
        folder: of the bundle.
        strict: the durations and counts of MLPerf's rules, instead of ten seconds.
        in_cpp: hasten-load runs the bundle instead of Python: for networks of less than a millisecond.
        bound_ms: of Server: what its p99 has to hold; None: BOUND_MS, or BOUND_TIMES the time of a call.
        task: its labelled data is loaded instead of the golden samples.
        logs: a folder that is not there yet or empty, for LoadGen's own logs and the settings.
        say: is told what goes on.

    Returns:
        The block `load`, as spec/load.schema.json has it.

    Raises:
        InputError: no bundle, no inputs, a scenario that cannot be valid in the time, a bundle that fails or dies.
        MissingError: LoadGen is not here, or what builds hasten-load is not.
    """
    check_logs(logs)
    if bound_ms is not None and scenario != "Server":
        raise UsageError(f"{scenario} has no latency bound", "--latency is for Server")
    runner: Runner = Cpp(folder) if in_cpp else Python(folder)
    require(in_cpp)
    search: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hasten-") as place, quiet():
        with Bundle.load(folder, verify=False) as bundle:
            work = _begun(bundle, runner, task, STRICT if strict else QUICK, Path(place), seed, say)
            runs = _runs(work, bundle, scenario, bound_ms, task, search)
        kept = [_kept(out, logs) for _, _, out in runs]
    samples = work.samples
    return {
        "said": SAID,
        "scenario": scenario,
        "preset": work.preset.name,
        "runner": runner.name,
        "loadgen": work.version,
        "sample": SAMPLE,
        "samples": {"count": samples.count, "source": samples.source, "whole": samples.whole},
        "probe": work.probe.to_json(),
        "search": search,
        "runs": [_whole(run, runner, of, file) for (run, of, _), file in zip(runs, kept, strict=True)],
    }


def _begun(
    bundle: Bundle, runner: Runner, task: Task | None, preset: Preset, scratch: Path, seed: int, say: Say
) -> Work:
    """The samples, as many as there is time for, and what a probe says."""
    samples = gather(bundle, task, scratch)
    say(f"probing: {samples.count} samples, {runner.name}")
    probe = runner.probe(samples.folder, PROBE_S)
    samples = samples.first(max(1, int(preset.limit_s / 2 * 1e3 / probe.latency_p50_ms)))
    return Work(runner, samples, probe, preset, seed, scratch, say)


def _runs(
    work: Work,
    bundle: Bundle,
    scenario: Scenario,
    bound_ms: float | None,
    task: Task | None,
    search: list[dict[str, Any]],
) -> list[Made]:
    """The performance run and the accuracy run, with their checks."""
    bound_ms = bound_ms or max(BOUND_MS, BOUND_TIMES * work.probe.latency_p50_ms)
    planned = performance(scenario, work.preset, work.probe, work.samples.count, work.seed, bound_ms=bound_ms)
    rest, limit_s = work.scratch / "rest", 300 + 10 * work.preset.limit_s
    count = Python(work.runner.bundle).rest(work.samples.folder, work.samples.count, rest, limit_s)
    work.samples = work.samples.first(count)
    planned = replace(planned, samples=count, loaded_samples=min(count, planned.loaded_samples))
    timed = _server(work, bound_ms, search) if scenario == "Server" else _attempted(work, planned, ATTEMPTS)
    timed[0]["checks"] = [answers_check(timed[2], rest, work.samples, None, None)]
    work.say("the same sample again and again, and distinct ones, in turn")
    timed[0]["checks"].append(repeated_check(work, bundle))
    work.say(f"{scenario}, accuracy mode: {work.samples.count} samples")
    settings = accuracy(timed[1], work.probe)
    run, out = work.run(settings)
    run["checks"] = [answers_check(out, rest, work.samples, task, bundle)]
    return [timed, (run, settings, out)]


def require(in_cpp: bool) -> None:
    """See that LoadGen is here; in C++, that hasten-load is built.

    Raises:
        MissingError: what is missing, and what mends it.
    """
    if in_cpp:
        cpp.load_program()
        return
    from importlib.util import find_spec

    if find_spec("mlperf_loadgen") is None:
        raise MissingError("LoadGen is not installed", "pip install 'hasten[loadgen]'")


def _attempted(work: Work, settings: Settings, attempts: int) -> Made:
    """A performance run; once more with better expectations where they were why it ended early."""
    for attempt in range(1, attempts + 1):
        work.say(f"{settings.scenario}, performance mode: {settings.min_duration_s:g} s at least")
        run, out = work.run(settings)
        early = any(why.startswith("it ended before") for why in run["reasons"])
        if run["valid"] or not early or attempt == attempts or not run["qps"]:
            break
        settings = settings.again(run["qps"])
    return run, settings, out


def _server(work: Work, bound_ms: float, search: list[dict[str, Any]]) -> Made:
    """The highest rate that holds the bound: found in short runs, and shown in one that is valid."""

    def asked(qps: float) -> Settings:
        count = work.samples.count
        return performance("Server", work.preset, work.probe, count, work.seed, qps=qps, bound_ms=bound_ms)

    def holds(qps: float) -> bool:
        run, _ = work.run(replace(asked(qps), min_duration_s=SEARCH_S, logged_answers=0))
        good, p99 = bool(run["valid"]), (run["percentiles"] or {}).get("p99")
        search.append({"qps": qps, "held": good, "p99_ms": p99})
        work.say(f"Server, search: {qps:.3g} queries a second {'hold' if good else 'do not hold'} {bound_ms:.3g} ms")
        return good

    qps = _highest(holds, work.probe.rate(max(work.probe.per_s)))
    for _ in range(LAST_STEPS):
        made = _attempted(work, asked(qps), 1)
        if made[0]["valid"]:
            break
        qps *= STEP
    return made


def _highest(holds: Callable[[float], bool], most: float) -> float:
    """About the highest rate that holds, by halving between one that does and one that does not.

    Args:
        most: what a server could do that is never asked at a bad moment: half of it is tried first, and less until it
            holds; where `most` itself holds, up to twice as much.

    Returns:
        The lowest that was tried, where none holds.
    """
    held, broken, low = 0.0, 0.0, 0.5 * most
    while not held:
        held, broken = (low, broken) if holds(low) else (held, low)
        if not held and low / 2 < most / LEAST:
            return low
        low /= 2
    if not broken:
        held, broken = (most, 2 * most) if holds(most) else (held, most)
    for _ in range(SEARCH_STEPS):
        if broken / held < NEAR:
            break
        middle = (held * broken) ** 0.5
        held, broken = (middle, broken) if holds(middle) else (held, middle)
    return held


def _kept(out: Path, logs: Path | None) -> str | None:
    """Copy a run's logs where they were asked for; the settings file there, or None."""
    if logs is None:
        return None
    target = logs / out.name
    shutil.copytree(out, target)
    return str(target / SETTINGS)


def _whole(run: dict[str, Any], runner: Runner, settings: Settings, file: str | None) -> dict[str, Any]:
    """A run as the result has it."""
    return run | {"runner": runner.name, "settings": settings.to_json(), "settings_file": file, "live": None}
