"""The pipeline: raw input -> tensor, time window, and tensor -> answer, as plain data that the bundle carries."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np

from hasten.errors import InputError, MissingError
from hasten.model import Arrays, Signature
from hasten.prepare import Prepare, native


@dataclass(frozen=True)
class Window:
    """The stretch of time that one answer looks at."""

    seconds: float
    fps: float  # samples per second of video, taken by timestamp
    stride_s: float  # from one answer to the next
    max_gap_s: float = 0.5  # a longer gap withholds the window
    padding: Literal["wait", "repeat"] = "wait"  # before the first full window: no answer, or the first frame repeated


@dataclass(frozen=True)
class Answer:
    """How outputs become an answer. `tensor`: as they are; `classes`: the best of the first output's scores."""

    kind: Literal["tensor", "classes", "boxes", "events"] = "tensor"
    activation: Literal["none", "softmax", "sigmoid"] = "none"  # from the first output to scores
    labels: tuple[str, ...] = ()  # names of the classes, for people; empty where there are none
    top_k: int = 1
    threshold: float | None = None  # lowest score reported; None: however low
    iou: float = 0.5  # overlap above which the weaker box is suppressed
    on: float = 0.5  # an event begins at or above this score ...
    off: float = 0.5  # ... and ends below this one
    refractory_s: float = 0.0  # time after an event in which no other begins


@dataclass(frozen=True)
class Pipeline:
    """What happens around the network, in training and in deployment alike."""

    inputs: Mapping[str, Prepare] = field(default_factory=dict)  # by name; one not named is an array
    window: Window | None = None
    answer: Answer = Answer()

    def require(self) -> None:
        """See that this build can honour every stage.

        Raises:
            MissingError: a part needs native code that this installation lacks, or that this version has not.
        """
        for name, how in self.inputs.items():
            if how.kind == "image":
                native(f"the image {name!r}")
        wanted = ["the time window"] if self.window else []
        wanted += [f"answers as {self.answer.kind}"] if self.answer.kind not in ("tensor", "classes") else []
        if wanted:
            raise MissingError(
                f"this version of hasten has no native code for {', '.join(wanted)}",
                "use arrays that are already prepared, or a newer version",
            )

    def check(self, signature: Signature) -> None:
        """See that the pipeline speaks of this network's inputs, outputs and classes.

        Raises:
            InputError: it names an input that is not there, scores that are none, or a wrong number of labels.
        """
        inputs = [t.name for t in signature.inputs]
        if strange := sorted(set(self.inputs) - set(inputs)):
            raise InputError(f"the pipeline prepares {strange[0]!r}", f"the network's inputs are {inputs}")
        if self.answer.kind == "classes":
            first = signature.outputs[0]
            if len(first.shape) < 2:
                raise InputError(
                    f"the pipeline answers with classes, but the first output is {first}",
                    "scores [N, ..., classes] have to come first",
                )
            if self.answer.labels and first.shape[-1] != len(self.answer.labels):
                raise InputError(
                    f"the pipeline has {len(self.answer.labels)} labels, and the first output is {first}",
                    "give one label for each class",
                )

    def prepared(self, raw: Arrays) -> Arrays:
        """Raw inputs by name, [N, ...] each -> the tensors that the network takes.

        Raises:
            MissingError: as `require`.
            InputError: raw images that are not what the pipeline says.
        """
        self.require()
        return {name: self._one(name, array) for name, array in raw.items()}

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """One raw image, as a training loader reads it, -> the tensor of the only image among the inputs.

        Args:
            image: uint8 [H, W, 3], [H, W], or [H * 3 / 2, W]; see Prepare.

        Returns:
            [C, H, W] or [H, W, C], without the batch.

        Raises:
            InputError: the pipeline has no image, or several; or as `prepared`.
        """
        names = [name for name, how in self.inputs.items() if how.kind == "image"]
        if len(names) != 1:
            raise InputError(f"the pipeline prepares {len(names)} images", "use prepared({name: images, ...})")
        return np.asarray(self.prepared({names[0]: image[None]})[names[0]][0])

    def _one(self, name: str, array: np.ndarray) -> np.ndarray:
        how = self.inputs.get(name)
        return array if how is None or how.kind == "array" else how(array)

    def decide(self, outputs: Arrays) -> list[Any]:
        """Decisions, one a sample.

        Args:
            outputs: by name, in the order of the signature; the first decides: scores [N, ..., classes].

        Returns:
            N times: None for `tensor`; for `classes` the indices of the best `top_k` whose score reaches the threshold,
            best first, equal scores in the order of the classes, in lists nested like the axes between.
        """
        self.require()
        first = np.asarray(next(iter(outputs.values())))
        if self.answer.kind == "tensor":
            return [None] * len(first)
        rows = first.reshape(-1, first.shape[-1]).astype(np.float64)
        order = np.argsort(-rows, axis=1, kind="stable")[:, : self.answer.top_k]
        scores = np.take_along_axis(self._scores(rows), order, axis=1)
        lowest = -math.inf if self.answer.threshold is None else self.answer.threshold
        best: list[Any] = [
            [int(c) for c, s in zip(line, score, strict=True) if s >= lowest]
            for line, score in zip(order, scores, strict=True)
        ]
        for length in reversed(first.shape[1:-1]):
            best = [best[i : i + length] for i in range(0, len(best), length)]
        return best

    def margin(self, outputs: Arrays) -> float | None:
        """How far the first output is from another decision, in its own unit; None where nothing is decided.

        The smallest gap between neighbours among the best `top_k` + 1, and between a score and the threshold. No
        decision changes while every value moves by less than half of it: the slope of an activation is at most 1, so
        an error in the output is never smaller than the one that it makes in a score.
        """
        first = np.asarray(next(iter(outputs.values())))
        if self.answer.kind != "classes":
            return None
        rows = -np.sort(-first.reshape(-1, first.shape[-1]).astype(np.float64), axis=1)
        best = rows[:, : self.answer.top_k + 1]
        gaps = best[:, :-1] - best[:, 1:]
        if self.answer.threshold is not None:
            scores = self._scores(rows)[:, : self.answer.top_k]
            gaps = np.concatenate([gaps, np.abs(scores - self.answer.threshold)], axis=1)
        return float(gaps.min()) if gaps.size else None

    def _scores(self, rows: np.ndarray) -> np.ndarray:
        """Activated rows f64 [N, classes]."""
        if self.answer.activation == "softmax":
            powers = np.exp(rows - rows.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        if self.answer.activation == "sigmoid":
            return np.asarray(0.5 * (1 + np.tanh(rows / 2)))  # 1 / (1 + exp(-x)) without its overflow
        return rows

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": {name: asdict(p) for name, p in self.inputs.items()},
            "window": asdict(self.window) if self.window else None,
            "answer": asdict(self.answer),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The pipeline of a bundle that has passed the schema."""
        return cls(
            {name: _made(Prepare, p) for name, p in data["inputs"].items()},
            _made(Window, data["window"]) if data["window"] else None,
            _made(Answer, data["answer"]),
        )


def _made(kind: type, data: Mapping[str, Any]) -> Any:
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})
