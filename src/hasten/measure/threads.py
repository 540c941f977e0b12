"""How many threads: swept once for a model on an engine, and remembered for this machine.

One or two threads changes the winner among small networks, and more than the network can feed makes it slower.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from hasten import files, find
from hasten.measure import machine
from hasten.measure.latency import race
from hasten.measure.lock import quiet
from hasten.measure.stand import Entrant, Stand

TIE = 1.03  # a number of threads that is not faster than this gives way to a smaller one


def candidates(most: int) -> list[int]:
    """1, 2, 4, ... below `most`, and `most` itself."""
    return sorted({2**i for i in range(most.bit_length()) if 2**i < most} | {most})


def beside(number: int, most: int) -> list[int]:
    """The next smaller and the next larger of the candidates up to `most`."""
    tried = candidates(most)
    place = tried.index(number)
    return tried[max(0, place - 1) : place] + tried[place + 1 : place + 2]


def best_threads(model: Path, engine: str, settings: Mapping[str, Any], feed: Path) -> int:
    """The number of threads with the lowest p50 for single calls; the smaller of two that tie.

    Args:
        model, engine, settings: as in Entrant; `threads` among the settings is ignored.
        feed: folder of .npy with real inputs.

    Raises:
        HastenError: the engine is missing or refuses the model.
    """
    numbers = candidates(machine.threads())
    if len(numbers) == 1:
        return numbers[0]
    key = _key(model, engine, settings, feed)
    with quiet():  # two that ask at once: the second reads what the first wrote
        known = files.remembered(_cache())
        if known.get(key) in numbers:
            return int(known[key])
        best = _sweep(model, engine, settings, feed, numbers)
        files.write(_cache(), json.dumps(files.remembered(_cache()) | {key: best}, indent=1))
    return best


def _sweep(model: Path, engine: str, settings: Mapping[str, Any], feed: Path, numbers: list[int]) -> int:
    with ExitStack() as stack:
        entrants = [Entrant(model, engine, dict(settings) | {"threads": n}) for n in numbers]
        stands = [stack.enter_context(Stand(e, feed)) for e in entrants]
        result = race(stands, launches=1)
    return fewest([result.latency(i).typical_ms for i in range(len(numbers))], numbers)


def fewest(p50_ms: list[float], numbers: list[int]) -> int:
    """The smallest of `numbers` (ascending) whose time is within `TIE` of the best."""
    return next(n for n, t in zip(numbers, p50_ms, strict=True) if t <= TIE * min(p50_ms))


def _key(model: Path, engine: str, settings: Mapping[str, Any], feed: Path) -> str:
    """What the answer depends on: the machine, the engine and its settings, the model, the shape of a sample."""
    made_of = sorted(model.parent.glob("*.py")) if model.suffix == ".py" else [model]
    inputs = {f.stem: np.load(f, mmap_mode="r").shape[1:] for f in sorted(feed.glob("*.npy"))}
    said = {
        "machine": machine.fingerprint(),
        "engine": f"{engine} {find.engine(engine).version()}",
        "settings": {k: v for k, v in sorted(settings.items()) if k != "threads"},
        "model": [files.sha256(f)[:16] for f in made_of],
        "inputs": inputs,
    }
    return json.dumps(said)


def _cache() -> Path:
    return files.cache_folder() / "threads.json"
