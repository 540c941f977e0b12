"""How a job uses the machine: workers, threads of each, and samples a call; swept once for a bundle, and remembered."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from hasten import files
from hasten.child import Child, ChildDied
from hasten.measure import machine
from hasten.measure.lock import quiet
from hasten.offline import hand

BATCHES = (1, 8, 32, 128)
RATE_S = 0.4  # for each way
LONG_S = 5.0  # a larger batch that would take longer is not tried
_LIMIT_S = 300.0


def best_way(seal: str, opened: Mapping[str, Any], places: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """As `sweep`, unless this machine has swept this bundle before.

    Args:
        seal: of the bundle, and what else the speed depends on.
    """
    path = files.cache_folder() / "jobs.json"
    key = json.dumps([machine.fingerprint(), seal])
    with quiet():  # two that ask at once: the second reads what the first wrote
        known = files.remembered(path)
        if (found := known.get(key)) and found["per_s"]:  # earlier versions kept a sweep that found nothing
            return dict(found)
        best, lasting = _swept(opened, places)
        if lasting:
            files.write(path, json.dumps(known | {key: best}, indent=1))
        return best


def sweep(opened: Mapping[str, Any], places: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The way with the most samples a second.

    One worker whose engine has every core, and a worker a core whose engine has one thread, each in batches of several
    sizes (samples times views); a batch whose answers differ from those of its samples alone is none, nor is one of
    which a worker dies: of a sample, or for want of memory.

    Args:
        opened: arguments of Worker.open.
        places: some samples of the job.

    Returns:
        workers, threads, batch, and the samples a second of all workers together.
    """
    return _swept(opened, places)[0]


def _swept(opened: Mapping[str, Any], places: Sequence[Sequence[Any]]) -> tuple[dict[str, Any], bool]:
    """The same, and whether other samples of this bundle may go by it: some had answers, and of none a worker died."""
    cores = machine.threads()
    best: dict[str, Any] = {"workers": 1, "threads": cores, "batch": 1, "per_s": 0.0}
    lasting = True
    with quiet():
        for workers, threads in dict.fromkeys([(1, cores), (cores, 1)]):
            for batch, per_s in _rates({**opened, "threads": threads}, workers, places):
                lasting = lasting and per_s is not None
                if per_s and per_s > best["per_s"]:
                    best = {"workers": workers, "threads": threads, "batch": batch, "per_s": per_s}
    return best, lasting and best["per_s"] > 0


def _rates(
    opened: Mapping[str, Any], workers: int, places: Sequence[Sequence[Any]]
) -> Iterator[tuple[int, float | None]]:
    """Batches, and the samples a second of all workers together; None where one dies, which is the last."""
    with ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        children = [stack.enter_context(Child(hand.WORKER)) for _ in range(workers)]
        for child in children:
            child.call("open", _LIMIT_S, **opened)
        row_s = 0.0  # what each of a batch has taken so far
        for batch in BATCHES:
            if row_s * batch > LONG_S:
                return
            ask = [pool.submit(c.call, "rate", _LIMIT_S, places=places, batch=batch, seconds=RATE_S) for c in children]
            try:
                rates = [a.result() for a in ask]
            except ChildDied:
                yield batch, None
                return
            every = all(per_s for per_s, _ in rates)
            if every:
                row_s = max(batch_s for _, batch_s in rates) / batch
            yield batch, sum(per_s for per_s, _ in rates) if every else 0.0
