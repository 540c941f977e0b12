"""Successive halving: all learn a little, the better half learns twice as long, until one is left."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from hasten import files
from hasten.compress._space import Point
from hasten.errors import HastenError, InputError

KEPT = 2  # one of so many goes on, and learns as many times longer
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Learnt:
    """What a candidate's training gave."""

    module: nn.Module
    score: float  # higher is better


class Search:
    """What has been seen, kept as it happens: a search that was killed goes on after the last thing on record.

    Attributes:
        timed: [{point, speedup, low, high, reason, seconds}]; where there is no network, speedup is None, for a reason.
        trained: [{rung, point, score, seconds}].
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self.folder, self._limit_s = folder, 60 * minutes
        known = files.remembered(folder / "search.json")
        self.timed: list[dict[str, Any]] = known.get("timed", [])
        self.trained: list[dict[str, Any]] = known.get("trained", [])

    def late(self, share: float = 1.0) -> bool:
        """Whether this share of the time is used up; what is on record counts, whoever ran it."""
        spent = sum(float(entry["seconds"]) for entry in (*self.timed, *self.trained))
        return spent >= share * self._limit_s

    def time(self, points: Sequence[Point], clock: Callable[[Point], tuple[float, float, float]], limit: float,
             wanted: int, share: float) -> list[Point]:  # fmt: skip
        """The first `wanted` of the points that are at least `limit` times as fast as the original.

        Args:
            clock: speedup of the network at a point, with its interval.
            share: of the time, after which no further point is timed.
        """
        for point in points[len(self.timed) :]:
            if len(self._able(limit)) >= wanted or (self.timed and self.late(share)):
                break
            began = time.monotonic()
            entry: dict[str, Any] = {"point": point, "speedup": None, "reason": ""}
            try:
                entry |= dict(zip(("speedup", "low", "high"), clock(point), strict=True))
            except HastenError as fault:
                entry["reason"] = str(fault)
            self._note(self.timed, entry, began)
        return self._able(limit)[:wanted]

    def _able(self, limit: float) -> list[Point]:
        return [dict(e["point"]) for e in self.timed if e["speedup"] is not None and e["speedup"] >= limit]

    def survivor(self, points: Sequence[Point], start: Callable[[Point], nn.Module],
                 learn: Callable[[nn.Module, int], Learnt]) -> tuple[Point, nn.Module]:  # fmt: skip
        """The point that is left, and its network as far as it has learnt.

        Args:
            start: the network at a point before it has learnt anything.
            learn: (network, epochs) -> what became of it.
        """
        rung, left = 0, list(points)
        best, reached = left[0], 0
        while True:
            scores: list[tuple[float, Point]] = []
            for point in left:
                if self._score(rung, point) is None and self.trained and self.late():
                    break
                if self._score(rung, point) is None:
                    self._learn(rung, point, start, learn)
                scores.append((self._score(rung, point) or 0.0, point))
            ranked = [point for _, point in sorted(scores, key=lambda pair: -pair[0])]
            if ranked:
                best, reached = ranked[0], rung
            rung, whole, left = rung + 1, len(ranked) == len(left), ranked[: -(-len(ranked) // KEPT)]
            if not whole or len(left) == 1:
                return best, self._loaded(start(best), reached, best)

    def _learn(self, rung: int, point: Point, start: Callable[[Point], nn.Module],
               learn: Callable[[nn.Module, int], Learnt]) -> None:  # fmt: skip
        began = time.monotonic()
        before = self._loaded(start(point), rung - 1, point) if rung else start(point)
        learnt = learn(before, KEPT**rung)
        files.write(self._weights(rung, point), save(learnt.module.state_dict()))
        self._note(self.trained, {"rung": rung, "point": point, "score": learnt.score}, began)

    def _score(self, rung: int, point: Point) -> float | None:
        return next((e["score"] for e in self.trained if e["rung"] == rung and e["point"] == point), None)

    def _weights(self, rung: int, point: Point) -> Path:
        known = hashlib.sha256(json.dumps(point).encode()).hexdigest()[:12]
        return self.folder / f"{rung}-{known}.safetensors"

    def _loaded(self, module: nn.Module, rung: int, point: Point) -> nn.Module:
        path = self._weights(rung, point)
        try:
            module.load_state_dict(load(path.read_bytes()))
        except (OSError, RuntimeError, SafetensorError) as fault:
            said = f"{path} holds no weights of the network {point} ({type(fault).__name__})"
            raise InputError(said, f"remove {self.folder}") from fault
        return module

    def _note(self, entries: list[dict[str, Any]], entry: dict[str, Any], began: float) -> None:
        entries.append(entry | {"seconds": round(time.monotonic() - began, 3)})
        _LOG.info("%s", json.dumps(entries[-1]))
        files.write(self.folder / "search.json", json.dumps({"timed": self.timed, "trained": self.trained}, indent=1))
