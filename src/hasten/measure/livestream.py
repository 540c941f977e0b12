"""LiveStream: how many live streams does a bundle keep up with? hasten's own scenario, measured without LoadGen.

Cameras do not wait. Frames come at a fixed rate, and each is due an answer before its deadline; what comes late is
late, and what finds the queue full pushes the oldest frame out. A stream count is held where the p99 of all frames,
those that were dropped included, is within the deadline.
"""

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hasten import files
from hasten.bundle import Bundle
from hasten.child import Child
from hasten.errors import InputError
from hasten.measure._load_checks import at_rest, bytes_of
from hasten.measure._load_runner import SETTINGS, Python
from hasten.measure._load_samples import gather
from hasten.measure._load_settings import QUICK, STRICT, Preset, Probe
from hasten.measure._load_work import Say, check_logs
from hasten.measure._loadgen_log import QUANTILES, enough
from hasten.measure.lock import quiet
from hasten.task import Task

SAID = "hasten's own scenario, not one of LoadGen's"
SAMPLE = "one prepared frame in, the answer out: every stage of the bundle, and its decision, from when it is due"
WAITING = 2  # frames of a stream that may wait
SEARCH_S = 2.0  # a run of the search
MOST_STREAMS = 4096
PROBE_S = 1.0
NEAR = 0.02  # the search ends where its two ends are so near
SPARE = 1.25  # streams that are tried at most, times what the probe's median allows
_LIMIT_S = 600.0  # to load, to warm up and to probe; more is a hang


def live(
    folder: Path,
    *,
    fps: float = 60.0,
    deadline_ms: float | None = None,
    streams: int | None = None,
    strict: bool = False,
    task: Task | None = None,
    logs: Path | None = None,
    seed: int = 0,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Find the most streams whose p99 holds the deadline, and show it in one run of full length.

    Args:
        folder: of the bundle.
        deadline_ms: from when a frame is due; None: until the next one of its stream.
        streams: measure so many, and search nothing.
        strict, task, logs, seed, say: as in hasten.measure.loadgen.load.

    Returns:
        The block `load`, as spec/load.schema.json has it.

    Raises:
        InputError: no bundle, no inputs, a rate that cannot be measured in the time, a bundle that fails or dies.
    """
    check_logs(logs)
    preset, deadline_ms = STRICT if strict else QUICK, deadline_ms or 1e3 / fps
    if enough(0.99) / fps > preset.limit_s:
        raise InputError(
            f"at {fps:g} frames a second {enough(0.99)} frames, as a p99 needs them, take {enough(0.99) / fps:.0f} s: "
            f"no valid run within the {preset.limit_s:.0f} s of the {preset.name} preset",
            "use a higher --fps" + ("" if strict else ", or --strict, which allows an hour"),
        )
    with tempfile.TemporaryDirectory(prefix="hasten-") as place, quiet():
        scratch = Path(place)
        with Bundle.load(folder, verify=False) as bundle:
            samples = gather(bundle, task, scratch)
        with Child("hasten.measure._live_child:Live") as child:
            child.call("open", _LIMIT_S, bundle=str(folder), samples=str(samples.folder))
            say(f"probing: {samples.count} samples, python")
            probe = Probe.from_json(child.call("probe", _LIMIT_S, seconds=PROBE_S))
            trials = _Trials(child, probe, fps, deadline_ms, preset, say)
            run = trials.shown(streams)
        used = min(samples.count, run["live"]["frames"])
        count = Python(folder).rest(samples.folder, used, scratch / "rest", 300 + 10 * preset.limit_s)
        run["checks"] = [_answers([one for one in run.pop("kept") if one[0] < count], scratch / "rest")]
        run["settings_file"] = _kept(run, logs, seed)
    return {
        "said": SAID,
        "scenario": "LiveStream",
        "preset": preset.name,
        "runner": "python",
        "loadgen": None,
        "sample": SAMPLE,
        "samples": {"count": samples.count, "source": samples.source, "whole": samples.whole},
        "probe": probe.to_json(),
        "search": trials.search,
        "runs": [run],
    }


@dataclass
class _Trials:
    """Runs of one bundle with as many streams as like."""

    child: Child
    probe: Probe
    fps: float
    deadline_ms: float
    preset: Preset
    say: Say
    search: list[dict[str, Any]] = field(default_factory=list)

    def shown(self, streams: int | None) -> dict[str, Any]:
        """The run that counts: with so many streams, or with the most that are held."""
        per_stream_s = self.probe.latency_p50_ms / 1e3 * self.fps
        most = max(1, min(MOST_STREAMS, math.ceil(SPARE / per_stream_s)))
        count = streams or _most(self._holds, most)
        while True:
            self.say(f"LiveStream: {count} streams of {self.fps:g} frames a second, {self.preset.seconds:g} s at least")
            run = self._run(count, self.preset.seconds)
            if run["valid"] or streams or count == 1:
                return run
            count = max(1, min(count - 1, int(0.9 * count)))

    def _holds(self, streams: int) -> bool:
        run = self._run(streams, SEARCH_S)
        p99 = (run["percentiles"] or {}).get("p99")
        self.search.append({"streams": streams, "held": run["valid"], "p99_ms": p99})
        self.say(f"LiveStream, search: {streams} streams are {'' if run['valid'] else 'not '}held")
        return bool(run["valid"])

    def _run(self, streams: int, seconds: float) -> dict[str, Any]:
        """One run of so long, or as long as the frames take that a p99 needs."""
        seconds = max(seconds, (enough(0.99) + 1) / (streams * self.fps))
        waiting = WAITING * streams
        longest_s = 60 + seconds + 10 * (waiting + 1) * self.probe.latency_p50_ms / 1e3
        asked = {"streams": streams, "fps": self.fps, "seconds": seconds, "waiting": waiting}
        found = self.child.call("serve", longest_s, **asked)
        return _run(found, streams, self.fps, self.deadline_ms, self.preset)


def _most(holds: Callable[[int], bool], most: int) -> int:
    """About the largest count up to `most` that holds, at least 1, by halving."""
    held, broken = 0, most + 1
    while broken - held > max(1, NEAR * held):
        middle = (held + broken) // 2
        held, broken = (middle, broken) if holds(middle) else (held, middle)
    return max(1, held)


def _run(found: Mapping[str, Any], streams: int, fps: float, deadline_ms: float, preset: Preset) -> dict[str, Any]:
    """A run as the result has it, from what the child saw."""
    times = np.sort(np.asarray(found["ms"], np.float64))
    frames, dropped = found["frames"], found["dropped"]
    late = int((times > deadline_ms).sum())
    percentiles: dict[str, float | None] = {}
    said = []
    for name, quantile in QUANTILES.items():
        percentiles[name] = None
        if frames < enough(quantile):
            said.append(f"{frames} frames are too few samples for {name} ({enough(quantile)} are needed)")
        elif (place := int(quantile * frames)) >= len(times):
            said.append(f"{name} is among the frames that were dropped")
        else:
            percentiles[name] = float(times[place])
    p99 = percentiles["p99"]
    held = p99 is not None and p99 <= deadline_ms
    why = f"{streams} streams are not held: {late} frames are late and {dropped} are dropped, of {frames}"
    return {
        "scenario": "LiveStream",
        "mode": "performance",
        "runner": "python",
        "valid": held,
        "reasons": [] if held else [why],
        "queries": frames,
        "samples": len(times),
        "duration_s": found["seconds"],
        "qps": len(times) / found["seconds"] if len(times) else None,
        "percentiles": percentiles,
        "percentiles_said": "; ".join(said),
        "early_stopping": None,
        "settings": {
            "scenario": "LiveStream", "fps": fps, "deadline_ms": deadline_ms, "streams": streams,
            "waiting": WAITING * streams, "min_duration_s": preset.seconds,
        },
        "settings_file": None,
        "live": {"streams": streams, "held": streams if held else 0, "frames": frames,
                 "on_time": len(times) - late, "late": late, "dropped": dropped},
        "kept": found["kept"],
    }  # fmt: skip


def _answers(kept: list[list[Any]], rest: Path) -> dict[str, Any]:
    """Whether the answers that were kept are those at rest, byte for byte."""
    alone = at_rest(rest)
    other = sum(bytes.fromhex(made) != bytes_of(alone, index) for index, made in kept)
    said = f"{len(kept)} answers under load are those at rest, byte for byte"
    if other:
        said = f"{other} of {len(kept)} answers under load are not those at rest"
    return {"name": "answers", "passed": bool(kept) and not other, "said": said, "accuracy": None}


def _kept(run: Mapping[str, Any], logs: Path | None, seed: int) -> str | None:
    """Write the settings where logs were asked for."""
    if logs is None:
        return None
    target = logs / "01-LiveStream-performance" / SETTINGS
    files.write(target, json.dumps(run["settings"] | {"seed": seed}, indent=1) + "\n")
    return str(target)
