"""From outputs to an answer: tensors, classes, boxes, events. spec/answers.md defines each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hasten.errors import InputError
from hasten.model import Arrays, Signature
from hasten.prepare import native

SURE = 1e9  # tolerances; a margin is cut off here, since JSON has no infinity


@dataclass(frozen=True)
class Answer:
    """How outputs become an answer.

    `tensor`: as they are. `classes`: the best of the first output, scores [N, ..., classes]. `boxes`: of the first
    output, scores [N, boxes, classes], and the second, [N, boxes, 4] of left, top, right, bottom. `events`: of the
    first output, scores [N, ..., classes], sample after sample in time.
    """

    kind: Literal["tensor", "classes", "boxes", "events"] = "tensor"
    activation: Literal["none", "softmax", "sigmoid"] = "none"  # from the first output to scores
    labels: tuple[str, ...] = ()  # names of the classes, for people; empty where there are none
    top_k: int | None = None  # at most so many; None: one class, every box
    threshold: float | None = None  # lowest score reported; None: however low
    iou: float = 0.5  # overlap above which the weaker box of the same label is suppressed
    on: float = 0.5  # an event begins at or above this score ...
    off: float = 0.5  # ... and ends below this one
    refractory_s: float = 0.0  # time after an event in which no other begins

    def check(self, signature: Signature) -> None:
        """See that it speaks of this network's outputs.

        Raises:
            InputError: scores or boxes that are none, or a wrong number of labels.
        """
        if self.kind == "tensor":
            return
        first, *others = signature.outputs
        if len(first.shape) < 2:
            raise InputError(
                f"the pipeline answers with {self.kind}, but the first output is {first}",
                "scores [N, ..., classes] have to come first",
            )
        if self.labels and first.shape[-1] != len(self.labels):
            raise InputError(
                f"the pipeline has {len(self.labels)} labels, and the first output is {first}",
                "give one label for each class",
            )
        if self.kind == "boxes":
            second = others[0] if others else None
            if (
                len(first.shape) != 3
                or second is None
                or second.shape[:-1] != first.shape[:-1]
                or second.shape[2:] != (4,)
            ):
                raise InputError(
                    f"the pipeline answers with boxes, but the outputs are {', '.join(map(str, signature.outputs))}",
                    "scores [N, boxes, classes] have to come first, then boxes [N, boxes, 4]",
                )
        if self.kind == "events" and self.off > self.on:
            raise InputError(f"an event begins at {self.on:g} and ends below {self.off:g}", "let `off` be at most `on`")

    def require(self) -> None:
        """See that this installation can honour it.

        Raises:
            MissingError: boxes and events need native code that this installation lacks.
        """
        if self.kind in ("boxes", "events"):
            native(f"an answer of {self.kind}")

    def decide(self, outputs: Arrays) -> list[Any]:
        """Decisions, one a sample.

        Args:
            outputs: by name, in the order of the signature.

        Returns:
            N times: None for `tensor`; for `classes` the indices of the best `top_k` whose score reaches the threshold,
            best first, equal scores in the order of the classes, in lists nested like the axes between; for `boxes`
            lists of [box, class], best first; for `events` the classes whose score reaches `on`, in their order, in
            lists nested like the axes between.
        """
        first, *others = (np.asarray(a) for a in outputs.values())
        if self.kind == "tensor":
            return [None] * len(first)
        if self.kind == "boxes":
            return [
                self._boxes(*pair) for pair in zip(first.astype(np.float64), others[0].astype(np.float64), strict=True)
            ]
        rows = first.reshape(-1, first.shape[-1]).astype(np.float64)
        found: list[Any] = self._classes(rows) if self.kind == "classes" else self._at_on(rows)
        for length in reversed(first.shape[1:-1]):
            found = [found[i : i + length] for i in range(0, len(found), length)]
        return found

    def margin(self, outputs: Arrays, tolerance: Mapping[str, float]) -> float | None:
        """How far the outputs are from another decision, in tolerances; None where nothing is decided.

        Of values that decide by their order: the gap between two; of those held against a threshold: the distance from
        it. The slope of an activation is at most 1, so an error in an output is never smaller than the one that it
        makes in a score. While no value is off by half of margin x tolerance, the decision stays.

        Args:
            outputs: as for `decide`.
            tolerance: of each output, by name.
        """
        if self.kind == "tensor":
            return None
        unit, *others = (tolerance[name] for name in outputs)
        first, *arrays = (np.asarray(a).astype(np.float64) for a in outputs.values())
        rows = first.reshape(-1, first.shape[-1])
        if self.kind == "classes":
            ordered = -np.sort(-rows, axis=1)
            near = ordered[:, : self._most + 1]
            gaps = [near[:, :-1] - near[:, 1:], *(g[:, : self._most] for g in self._beside(ordered, self.threshold))]
        elif self.kind == "events":
            gaps = [*self._beside(rows, self.on), *self._beside(rows, self.off)]
        else:
            pairs = zip(first, arrays[0], strict=True)
            return min((self._box_margin(s, b, unit, others[0]) for s, b in pairs), default=SURE)
        return _in_units(np.concatenate([g.ravel() for g in gaps]), unit)

    def events(self, times: Sequence[int] | np.ndarray, scores: np.ndarray) -> list["Event"]:
        """Events of one stretch of time; the last one ends with it.

        Args:
            times: of each step in nanoseconds, rising, i64 [N].
            scores: first outputs, [N, classes].

        Returns:
            By the time at which they begin; at the same time by class.
        """
        core = native("an answer of events")
        rows = self._scores(np.asarray(scores, np.float64))
        moments = np.ascontiguousarray(times, np.int64)
        found = []
        for label, column in enumerate(rows.T):
            watch = core.Hysteresis(on=self.on, off=self.off, refractory=round(self.refractory_s * 1e9))
            for told in (watch.push(moments, np.ascontiguousarray(column)), watch.flush()):
                found += [Event(label, *(a.item() for a in one)) for one in zip(*told, strict=True)]
        return sorted(found, key=lambda e: (e.begin, e.label))

    @property
    def _most(self) -> int:
        return 1 if self.top_k is None else self.top_k

    def _classes(self, rows: np.ndarray) -> list[list[int]]:
        order = np.argsort(-rows, axis=1, kind="stable")[:, : self._most]
        scores = np.take_along_axis(self._scores(rows), order, axis=1)
        lowest = -math.inf if self.threshold is None else self.threshold
        return [
            [int(c) for c, s in zip(line, score, strict=True) if s >= lowest]
            for line, score in zip(order, scores, strict=True)
        ]

    def _at_on(self, rows: np.ndarray) -> list[list[int]]:
        return [np.flatnonzero(score >= self.on).tolist() for score in self._scores(rows)]

    def _boxes(self, rows: np.ndarray, boxes: np.ndarray) -> list[list[int]]:
        """One sample: rows [boxes, classes], boxes [boxes, 4], both f64."""
        if not len(rows):
            return []
        core = native("an answer of boxes")
        labels = np.argmax(np.where(np.isnan(rows), -np.inf, rows), axis=1).astype(np.int32)
        scores = core.activate(np.ascontiguousarray(rows), self.activation)[np.arange(len(rows)), labels]
        kept = core.suppress(
            np.ascontiguousarray(boxes), np.ascontiguousarray(scores), labels, iou=self.iou, threshold=self.threshold
        )
        return [[int(i), int(labels[i])] for i in kept[: self.top_k]]

    def _box_margin(self, rows: np.ndarray, boxes: np.ndarray, unit: float, length_unit: float) -> float:
        """Of one sample: for the boxes that can come into question, best class, threshold, order and overlaps."""
        if not rows.size:
            return SURE
        ordered = -np.sort(-rows, axis=1)
        best = self._scores(rows).max(axis=1)
        gaps = [np.abs(best - self.threshold)] if self.threshold is not None else []
        able = np.flatnonzero(best >= self.threshold) if self.threshold is not None else np.arange(len(rows))
        if rows.shape[1] > 1:
            gaps.append(ordered[able, 0] - ordered[able, 1])
        gaps.append(np.diff(np.sort(best[able])))
        labels = np.argmax(rows, axis=1)
        first, second = np.triu_indices(len(able), 1)
        alike = labels[able[first]] == labels[able[second]]
        overlaps = _overlap_margin(boxes[able[first[alike]]], boxes[able[second[alike]]], self.iou)
        return min(_in_units(np.concatenate(gaps), unit), _in_units(overlaps, length_unit))

    def _beside(self, rows: np.ndarray, threshold: float | None) -> list[np.ndarray]:
        """Distances of the scores from a threshold, if there is one."""
        return [] if threshold is None else [np.abs(self._scores(rows) - threshold)]

    def _scores(self, rows: np.ndarray) -> np.ndarray:
        """Of rows f64 [N, classes]."""
        return activated(rows, self.activation)


@dataclass(frozen=True)
class Event:
    """A stretch of time in which a class was at hand; times in nanoseconds."""

    label: int
    begin: int
    end: int
    peak: float
    peak_time: int


def _in_units(gaps: np.ndarray, unit: float) -> float:
    smallest = float(gaps.min(initial=math.inf))
    if not smallest > 0:
        return 0.0
    return min(SURE, smallest / unit) if unit > 0 else SURE


def _overlap_margin(a: np.ndarray, b: np.ndarray, iou: float) -> np.ndarray:
    """How far the coordinates of pairs of boxes [K, 4] may move, twice, before the overlap passes `iou`; at least.

    A coordinate that moves by d changes the intersection by at most d times the sides of the smaller box, and the union
    by at most d times all sides; the terms in d * d are left out, and a factor of 2 taken for them.
    """
    sides_a, sides_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    inner = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(axis=1)
    union = sides_a.prod(axis=1) + sides_b.prod(axis=1) - inner
    slope = 2 * (1 + iou) * np.minimum(sides_a, sides_b).sum(axis=1) + 2 * iou * (sides_a + sides_b).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num(np.abs(inner - iou * union) / slope, nan=0.0, posinf=math.inf))


def activated(rows: np.ndarray, activation: str) -> np.ndarray:
    """Values f64 [..., classes] -> scores."""
    if activation == "softmax":
        powers = np.exp(rows - rows.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
    if activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(rows / 2)))  # 1 / (1 + exp(-x)) without its overflow
    return rows
