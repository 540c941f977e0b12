"""One stage of a bundle: an ONNX file, the engine that runs it, and when it runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from hasten import find
from hasten.engine import Engine, Session
from hasten.errors import InputError, MissingError
from hasten.measure.machine import threads
from hasten.model import OnnxFile, OnnxModel, Signature

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
