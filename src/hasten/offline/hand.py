"""A worker process that is replaced when it dies, and the sample found of which it died."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hasten.child import Child, ChildDied
from hasten.offline.inputs import Place

WORKER = "hasten.offline.worker:Worker"
SMALLEST = 64  # samples of a part, where the inputs suffice: of more only where their speed is measured
_OPEN_S, _SHARD_S, _VIDEO_S = 300.0, 1800.0, 24 * 3600.0  # more is a hang
_LOOK_S = 60.0  # at a sample in one view, of as many as are in a part whatever their speed
_TRIES = 3  # of a shard whose worker dies of no sample in particular


class Hand:
    """One process that answers shards. Use it as a context manager, in one thread."""

    def __init__(self, opened: Mapping[str, Any], batch: int) -> None:
        """
        Args:
            opened: arguments of Worker.open.
        """
        self._opened, self._batch = dict(opened), batch
        self._child: Child | None = None
        self._views = 1

    def shard(self, places: Sequence[Place], path: Path) -> dict[str, Any]:
        """As Worker.shard; a sample of which the process dies is an error like others.

        Raises:
            ChildDied: the process dies again and again, and of no single sample.
        """
        skip: dict[int, str] = {}
        for turn in range(_TRIES):
            try:
                told = {str(p): why for p, why in skip.items()}
                return dict(self._call("shard", places, path=str(path), skip=told))
            except ChildDied:
                guilty = self._guilty(list(range(len(places))), places, skip)
                if not guilty and turn == _TRIES - 1:
                    raise
                skip |= guilty
        last = list(skip.values())[-1]
        raise ChildDied(
            f"the worker dies of {path.name}, less {len(skip)} of its samples too ({last})", "look at the memory"
        )

    def _guilty(self, positions: list[int], places: Sequence[Place], known: Mapping[int, str]) -> dict[int, str]:
        """Of which the process dies, found by halves."""
        positions = [p for p in positions if p not in known]
        if not positions:
            return {}
        try:
            self._call("attempt", [places[p] for p in positions])
        except ChildDied as fault:
            if len(positions) == 1:
                return {positions[0]: fault.what}
            half = len(positions) // 2
            parts = (positions[:half], positions[half:])
            return {p: why for part in parts for p, why in self._guilty(part, places, known).items()}
        return {}

    def _call(self, method: str, places: Sequence[Place], **arguments: Any) -> Any:
        try:
            if self._child is None:
                self._child = Child(WORKER)
                self._views = self._child.call("open", _OPEN_S, **self._opened)
            rows = [tuple(p) for p in places]
            return self._child.call(method, self._limit_s(places), places=rows, batch=self._batch, **arguments)
        except ChildDied:
            self.close()
            raise

    def _limit_s(self, places: Sequence[Place]) -> float:
        """After so many seconds the process hangs."""
        if any(p.video for p in places):
            return _VIDEO_S
        return max(_SHARD_S, _LOOK_S * self._views * min(len(places), SMALLEST))

    def close(self) -> None:
        """End the process; harmless when repeated."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
