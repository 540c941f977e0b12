"""Gathers what the reasons of `hasten explain` are decided by: a survey of the engines, and a way to race more."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hasten.data import Data
from hasten.diagnose.remedy import parsed
from hasten.diagnose.slow import Evidence
from hasten.engine import Engine
from hasten.errors import InputError
from hasten.measure import machine
from hasten.measure.latency import Race, race
from hasten.measure.lock import quiet
from hasten.measure.stand import Entrant, Stand
from hasten.measure.survey import survey
from hasten.model import OnnxModel

LAUNCHES = 1  # of a race that decides a reason: its interval speaks of these processes


def gather(model: OnnxModel, engines: Sequence[Engine], feed: Path, seed: int = 0) -> Evidence:
    """
    Args:
        model: saved, so that it has a path.
        engines: the first is asked about, unless several are given: then the fastest that tells of its layers.
        feed: folder of .npy with real or random samples.

    Raises:
        InputError: none of the engines runs the file and tells what its layers take.
    """
    rows = survey(model, engines, feed, None, seed, roofline=True)
    telling = [row for row in rows if not row["reason"] and not row["roofline"]["reason"]]
    if not telling:
        why = "; ".join(f"{row['engine']}: {row['reason'] or row['roofline']['reason']}" for row in rows)
        raise InputError(f"no engine tells what the layers of this file take: {why}", "name another: --engine openvino")
    row = min(telling, key=lambda r: r["latency_p50_ms"])

    def times(entrants: Sequence[tuple[Path, Engine]], samples: Mapping[str, Any] | None = None) -> Race:
        with tempfile.TemporaryDirectory(prefix="hasten-") as scratch, ExitStack() as stack:
            place = Path(scratch) / "feed" if samples else feed
            if samples:
                Data(dict(samples)).save(place)
            stack.enter_context(quiet())
            stands = [stack.enter_context(Stand(_entrant(path, engine), place)) for path, engine in entrants]
            return race(stands, launches=LAUNCHES, seed=seed)

    others = [other for other in rows if other is not row]
    axes = Data.load(feed).axes(model.signature)
    return Evidence(model, parsed(row["engine"]), row, others, machine.isa(), axes, times)


def _entrant(path: Path, engine: Engine) -> Entrant:
    return Entrant(path, type(engine).__module__.rpartition(".")[2], vars(engine))
