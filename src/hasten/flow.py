"""Tensors through the stages of a bundle, by name."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from hasten.answer import activated
from hasten.engine import Compiled, Layer, Session
from hasten.errors import HastenError, InputError
from hasten.model import Arrays, Signature
from hasten.stage import Stage, Unless


class Flow(Compiled):
    """Tensors through all stages, compiled, as one thing that runs."""

    def __init__(self, stages: Sequence[Stage], outputs: Sequence[str]) -> None:
        """
        Args:
            outputs: of what the stages give, what is the answer.

        Raises:
            MissingError, InputError: as Stage.compile.
        """
        self.stages, self._outputs = tuple(stages), tuple(outputs)
        with ExitStack() as stack:
            self._sessions = [stack.enter_context(s.compile()) for s in self.stages]
            stack.pop_all()

    def running(self) -> list[tuple[Stage, Session]]:
        """Each stage with the session that runs it."""
        return list(zip(self.stages, self._sessions, strict=True))

    def run(self, feed: Arrays) -> dict[str, np.ndarray]:
        tensors = dict(feed)
        for stage, session in self.running():
            tensors |= run(stage, session, tensors)
        return {name: tensors[name] for name in self._outputs}

    def further(self, feed: Arrays, tolerance: Mapping[str, float] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """How many of the stages that are left out at times each sample needs, int [N]; and whether it would need the
        same ones if what they look at were off by a tolerance, by name, bool [N]."""
        samples = len(next(iter(feed.values())))
        tensors, count, steady = dict(feed), np.zeros(samples, np.int64), np.ones(samples, bool)
        for stage, session in self.running():
            if stage.unless:
                judged = tensors[stage.unless.output]
                count += ~sure(stage.unless, judged)
                steady &= _steady(stage.unless, judged, (tolerance or {}).get(stage.unless.output, 0.0))
            tensors |= run(stage, session, tensors)
        return count, steady

    def layers(self) -> list[Layer]:
        return [layer for session in self._sessions for layer in session.compiled.layers()]

    def close(self) -> None:
        for session in self._sessions:
            session.close()


def run(stage: Stage, session: Session, tensors: Arrays) -> dict[str, np.ndarray]:
    """What a stage makes of the tensors known so far, [N, ...] each; [N, frames, ...] for a frame stage.

    Raises:
        InputError: tensors that do not fit, or the engine fails on them.
    """
    feed = {t.name: tensors[t.name] for t in stage.signature.inputs}
    if stage.when == "frame":
        return _by_frame(stage, session, feed)
    if stage.unless:
        return _unless(stage, stage.unless, session, feed, tensors)
    return answer(session, feed)


def _by_frame(stage: Stage, session: Session, feed: Arrays) -> dict[str, np.ndarray]:
    fronts = {a.shape[:2] for a in feed.values()}
    front = next(iter(fronts))
    if len(fronts) != 1 or len(front) != 2:
        raise InputError(
            f"stage {stage.name!r} runs by frame, and its inputs have no time in common",
            "give inputs [N, frames, ...] of as many frames as each other",
        )
    outputs = answer(session, {name: a.reshape(-1, *a.shape[2:]) for name, a in feed.items()})
    frames = front[0] * front[1]
    for name, a in outputs.items():
        if a.shape[:1] != (frames,):
            raise InputError(
                f"stage {stage.name!r} runs by frame, and gives {name!r} {list(a.shape)} for {frames} frames",
                "give outputs with a row for each frame",
            )
    return {name: a.reshape(*front, *a.shape[1:]) for name, a in outputs.items()}


def _unless(stage: Stage, unless: Unless, session: Session, feed: Arrays, tensors: Arrays) -> dict[str, np.ndarray]:
    """Its outputs in the place of those of the same name, for the samples of which `unless.output` is not sure."""
    judged = tensors[unless.output]
    counts = {a.shape[:1] for a in (*feed.values(), judged)}
    if len(counts) != 1 or not judged.ndim:
        raise InputError(
            f"stage {stage.name!r} runs on single samples, and its inputs are none",
            "give inputs that have as many samples as each other",
        )
    unsure = np.flatnonzero(~sure(unless, judged))
    whole = {t.name: tensors[t.name] for t in stage.signature.outputs}
    if not len(unsure):
        return whole
    every = len(unsure) == len(judged)
    made = {name: a.copy() for name, a in whole.items()}
    for name, part in answer(session, feed if every else {n: a[unsure] for n, a in feed.items()}).items():
        if part.dtype != made[name].dtype or part.shape != (len(unsure), *made[name].shape[1:]):
            raise InputError(
                f"stage {stage.name!r} gives {name!r} {list(part.shape)} in the place of {list(made[name].shape)}",
                "make the bundle again",
            )
        if every:
            made[name] = part
        else:
            made[name][unsure] = part
    return made


def sure(unless: Unless, judged: np.ndarray) -> np.ndarray:
    """Whether a stage is left out, bool [N], for each sample of what is judged, [N, ..., classes].

    Where the scores have axes between samples and classes, each of their rows has to be sure.
    """
    rows = judged.reshape(len(judged), -1, judged.shape[-1] if judged.ndim > 1 else 1).astype(np.float64)
    scores = activated(rows, unless.activation)
    return np.asarray((scores.max(axis=2) >= unless.threshold).all(axis=1))


def _steady(unless: Unless, judged: np.ndarray, tolerance: float) -> np.ndarray:
    """Whether it is the same, bool [N], with the best score nearer to the others by the tolerance, and further away."""
    away = np.where(judged == judged.max(-1, keepdims=True), tolerance, -tolerance)
    same: np.ndarray = sure(unless, judged - away) == sure(unless, judged + away)
    return same


def answer(session: Session, feed: Arrays) -> dict[str, np.ndarray]:
    """Outputs for any number of samples, the caller's own.

    Where the batch is fixed: in calls of that many samples, the last of them filled up with its last sample.

    Args:
        feed: input name -> [N, ...].

    Raises:
        InputError: the feed does not fit the signature, or the engine fails on it.
    """
    size, lengths = _fixed_batch(session.signature), {a.shape[:1] for a in feed.values()}
    if size is None or len(lengths) != 1:
        return _copied(session, feed)
    ((count,),) = lengths
    parts = []
    for start in range(0, count, size):
        part = {name: a[start : start + size] for name, a in feed.items()}
        missing = max(0, start + size - count)
        parts.append(_copied(session, {name: _filled(a, missing) for name, a in part.items()}))
    return {name: np.concatenate([p[name] for p in parts])[:count] for name in parts[0]}


def _copied(session: Session, feed: Arrays) -> dict[str, np.ndarray]:
    try:
        return {name: np.array(a) for name, a in session(feed).items()}
    except HastenError:
        raise
    except Exception as fault:
        said = str(fault).strip().splitlines() or [type(fault).__name__]
        raise InputError(f"the engine fails: {said[-1][:300]}", "check the values of the inputs") from fault


def _filled(array: np.ndarray, missing: int) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def _fixed_batch(signature: Signature) -> int | None:
    """The first axis that all inputs and outputs share where its length is fixed; None where there is none."""
    first = {t.shape[:1] for t in (*signature.inputs, *signature.outputs)}
    axis = next(iter(first)) if len(first) == 1 else ()
    return axis[0] if axis and isinstance(axis[0], int) else None
