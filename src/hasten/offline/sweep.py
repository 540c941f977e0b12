"""How a job uses the machine: workers, threads of each, and samples a call; swept once for a bundle, and remembered."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from hasten import files
from hasten.child import Child
from hasten.measure import machine
from hasten.measure.lock import quiet

BATCHES = (1, 8, 32, 128)
RATE_S = 0.4  # for each way
_LIMIT_S = 300.0


def best_way(seal: str, opened: Mapping[str, Any], places: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """As `sweep`, unless this machine has swept this bundle before.

    Args:
        seal: of the bundle, and what else the speed depends on.
    """
    path = files.cache_folder() / "jobs.json"
    key = json.dumps([machine.fingerprint(), seal])
    with quiet():  # two that ask at once: the second reads what the first wrote
        if key not in (known := files.remembered(path)):
            files.write(path, json.dumps(known | {key: sweep(opened, places)}, indent=1))
        return dict(files.remembered(path)[key])


def sweep(opened: Mapping[str, Any], places: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The way with the most samples a second.

    One worker whose engine has every core, and a worker a core whose engine has one thread, each in batches of several
    sizes (samples times views); a batch whose answers differ from those of its samples alone is none.

    Args:
        opened: arguments of Worker.open.
        places: some samples of the job.

    Returns:
        workers, threads, batch, and the samples a second of all workers together.
    """
    cores = machine.threads()
    best: dict[str, Any] = {"workers": 1, "threads": cores, "batch": 1, "per_s": 0.0}
    with quiet():
        for workers, threads in dict.fromkeys([(1, cores), (cores, 1)]):
            with ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
                children = [stack.enter_context(Child("hasten.offline.worker:Worker")) for _ in range(workers)]
                for child in children:
                    child.call("open", _LIMIT_S, **{**opened, "threads": threads})
                for batch in BATCHES:
                    ask = [
                        pool.submit(c.call, "rate", _LIMIT_S, places=places, batch=batch, seconds=RATE_S)
                        for c in children
                    ]
                    rates = [a.result() for a in ask]
                    found = sum(rates) if all(rates) else 0.0
                    if found > best["per_s"]:
                        best = {"workers": workers, "threads": threads, "batch": batch, "per_s": found}
    return best
