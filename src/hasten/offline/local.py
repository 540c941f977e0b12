"""A job on this machine: a thread for each worker process."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from hasten.offline.hand import Hand
from hasten.offline.inputs import Place


def answers(
    shards: Mapping[int, Sequence[Place]], paths: Mapping[int, Path], opened: Mapping[str, Any], plan: Mapping[str, Any]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each shard's index with what Worker.shard says of it, as they end.

    Args:
        paths: of the parts, by index.
        opened: arguments of Worker.open.
        plan: workers, batch.

    Raises:
        HastenError: whatever ends a worker for good.
    """
    waiting: SimpleQueue[int] = SimpleQueue()
    for index in shards:
        waiting.put(index)
    ended: SimpleQueue[tuple[int, dict[str, Any]] | BaseException] = SimpleQueue()
    stop = threading.Event()

    def lane() -> None:
        try:
            with Hand(opened, plan["batch"]) as hand:
                while not stop.is_set() and (index := _next(waiting)) is not None:
                    ended.put((index, hand.shard(shards[index], paths[index])))
        except BaseException as fault:  # raised where the answers are taken
            ended.put(fault)

    for _ in range(min(plan["workers"], len(shards))):
        threading.Thread(target=lane, daemon=True).start()
    try:
        for _ in shards:
            came = ended.get()
            if isinstance(came, BaseException):
                raise came
            yield came
    finally:
        stop.set()


def _next(waiting: "SimpleQueue[int]") -> int | None:
    try:
        return waiting.get_nowait()
    except Empty:
        return None
