"""One stage of a bundle: an ONNX file, the engine that runs it, and when it runs."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

import numpy as np

from hasten import find
from hasten.answer import activated
from hasten.engine import Compiled, Engine, Layer, Session
from hasten.errors import HastenError, InputError, MissingError
from hasten.measure.machine import threads
from hasten.model import Arrays, OnnxFile, OnnxModel, Signature

When = Literal["always", "frame", "window", "unless"]


@dataclass(frozen=True)
class Unless:
    """What makes a stage superfluous for a sample: an earlier output that is already sure."""

    output: str
    activation: Literal["none", "softmax", "sigmoid"]  # from that output to scores
    threshold: float  # the best score that is sure enough


@dataclass(frozen=True)
class Stage:
    """Stages run in order and hand each other tensors by name.

    `always`: once for each batch of samples; `frame`: once for each frame of a window, so that its tensors have no axis
    of time; `window`: once a full window; `unless`: on the samples of which an earlier stage was not sure.
    """

    name: str
    file: Path  # where it lies; in the bundle it is called <name>.onnx
    engine: Engine
    signature: Signature
    when: When = "always"
    unless: Unless | None = None

    @classmethod
    def of(cls, file: Path, engine: Engine, name: str = "model") -> Self:
        """A stage that always runs; the signature is read from the file."""
        return cls(name, file, engine, OnnxModel.load(file).signature)

    @property
    def precisions(self) -> set[str]:
        """That of the engine's floating-point layers, and i8 where the file computes in INT8 anywhere."""
        return {self.engine.precision} | ({"i8"} if OnnxModel.load(self.file).quantized else set())

    def require(self) -> None:
        """See that this installation can run the stage.

        Raises:
            MissingError: the engine is missing here.
        """
        if reason := self.engine.missing():
            raise MissingError(f"the engine {_name(self.engine)} cannot run here", reason)

    def settled(self) -> Engine:
        """The engine with the threads that it gets here.

        Those that were fastest where the bundle was made, and never more than this process has cores (or a quota) for:
        engines spin while they wait, and threads that share a core wait for each other. More cores do not raise them.
        """
        return replace(self.engine, threads=min(self.engine.threads, threads()))

    def compile(self) -> Session:
        """Make it ready to run.

        Raises:
            MissingError: as `require`.
            InputError: the engine refuses the file.
        """
        self.require()
        return self.settled().compile(OnnxFile(self.file, self.signature))

    def to_json(self) -> dict[str, Any]:
        settings = {f.name: getattr(self.engine, f.name) for f in fields(self.engine)}
        return {
            "name": self.name,
            "file": f"{self.name}.onnx",
            "when": self.when,
            "unless": asdict(self.unless) if self.unless else None,
            "engine": {"name": _name(self.engine), "settings": settings},
            "signature": self.signature.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], folder: Path) -> Self:
        """The stage of a bundle in `folder` that has passed the schema.

        Raises:
            MissingError: no such engine.
            InputError: settings that the engine does not have.
        """
        engine = _engine(data["engine"]["name"], data["engine"]["settings"])
        unless = Unless(**data["unless"]) if data["unless"] else None
        signature = Signature.from_json(data["signature"])
        return cls(data["name"], folder / data["file"], engine, signature, data["when"], unless)


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

    def run(self, feed: Arrays) -> dict[str, np.ndarray]:
        tensors = dict(feed)
        for stage, session in zip(self.stages, self._sessions, strict=True):
            tensors |= run(stage, session, tensors)
        return {name: tensors[name] for name in self._outputs}

    def further(self, feed: Arrays) -> np.ndarray:
        """How many of the stages that are left out at times each sample needs, int [N]."""
        tensors, count = dict(feed), np.zeros(len(next(iter(feed.values()))), np.int64)
        for stage, session in zip(self.stages, self._sessions, strict=True):
            if stage.unless:
                count += ~sure(stage.unless, tensors[stage.unless.output])
            tensors |= run(stage, session, tensors)
        return count

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
    made = {name: a.copy() for name, a in whole.items()}
    for name, part in answer(session, {n: a[unsure] for n, a in feed.items()}).items():
        if part.dtype != made[name].dtype or part.shape != (len(unsure), *made[name].shape[1:]):
            raise InputError(
                f"stage {stage.name!r} gives {name!r} {list(part.shape)} in the place of {list(made[name].shape)}",
                "make the bundle again",
            )
        made[name][unsure] = part
    return made


def sure(unless: Unless, judged: np.ndarray) -> np.ndarray:
    """Whether a stage is left out, bool [N], for each sample of what is judged, [N, ..., classes].

    Where the scores have axes between samples and classes, each of their rows has to be sure.
    """
    rows = judged.reshape(len(judged), -1, judged.shape[-1] if judged.ndim > 1 else 1).astype(np.float64)
    scores = activated(rows, unless.activation)
    return np.asarray((scores.max(axis=2) >= unless.threshold).all(axis=1))


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


def _name(engine: Engine) -> str:
    """What `find` calls it."""
    return next(name for name, kind in find.engines().items() if kind is type(engine))


def _engine(name: str, settings: Mapping[str, Any]) -> Engine:
    kind = find.engines().get(name)
    if kind is None:
        raise MissingError(
            f"the bundle runs on the engine {name!r}, which this version of hasten does not have",
            "pip install --upgrade hasten, or the package that adds the engine",
        )
    if kind.takes != "onnx":
        raise InputError(f"the engine {name} does not run ONNX files", "make the bundle again with hasten boost")
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    for key, value in settings.items():
        if key not in known or not _fits(value, hints[key]):
            raise InputError(
                f"the engine {name} has no setting {key}={value!r}",
                "pip install --upgrade hasten, or make the bundle again",
            )
    return kind(**settings)


def _fits(value: object, hint: Any) -> bool:
    """Whether a JSON value is one of a field's type: bool, int, float, str, None, Literal, or a union of these."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if choices := get_args(hint):
        return any(_fits(value, choice) for choice in choices)
    return type(value) is hint or (hint is type(None) and value is None)
