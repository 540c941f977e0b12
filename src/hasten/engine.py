"""An engine: compiles a model once and runs it many times. One file each in engines/."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, final

import numpy as np

from hasten.errors import ContractError, InputError, MissingError, UsageError
from hasten.model import Arrays, Model, OnnxFile, OnnxModel, Signature, TorchModel


@dataclass(frozen=True)
class Layer:
    """One layer as the engine executes it, after its own fusions."""

    name: str
    op: str  # the engine's word
    precision: str  # f32, bf16, f16, i8
    heavy: bool  # a convolution or matrix product: where the arithmetic is
    of: tuple[str, ...] = ()  # nodes of the file, or values that they write, which it is made of


@dataclass(frozen=True)
class Profile:
    """An engine's own account of `calls` calls after a few warm ones; keeping it costs time, so the call is in it.

    Attributes:
        spent: layers in the order in which they run, and the mean ms that a call spends in each.
        call_ms: the mean of a whole call while the account was kept.
    """

    spent: tuple[tuple[Layer, float], ...]
    call_ms: float


class Compiled(ABC):
    """What an engine makes of a model. The checks are the session's; this only runs."""

    @abstractmethod
    def run(self, feed: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name, in arrays that later calls, of whatever batch, and `close` leave alone."""

    @abstractmethod
    def layers(self) -> list[Layer]:
        """The executed graph; empty where the engine does not show it."""

    def profile(self, feed: Arrays, calls: int) -> "Profile | None":
        """What each layer takes, from a twin that keeps the time; None where the engine does not tell."""
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back threads and memory."""


@dataclass(frozen=True)
class Engine(ABC):
    """A frozen dataclass whose fields are its settings. `threads` is explicit: 0 is every core this process may use."""

    threads: int = 0
    takes: ClassVar[Literal["torch", "onnx"]] = "onnx"
    caveat: ClassVar[str] = ""  # what has to be known of it wherever it is listed

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why it cannot run on this machine, and the command that mends it; None when it can."""

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Of the package behind it."""

    @classmethod
    @abstractmethod
    def variants(cls, quantized: bool) -> tuple["Engine", ...]:
        """The settings worth trying here, threads aside; `quantized`: the file holds INT8."""

    @property
    @abstractmethod
    def precision(self) -> str:
        """What floating-point layers are computed in: f32, bf16."""

    def in_turns(self) -> "Engine":
        """These settings for one of several files that take turns in one process."""
        return self

    @property
    def fallback(self) -> bool:
        """Whether these settings are only worth trying where the engine's others lose too much."""
        return False

    def build(self, model: OnnxModel | OnnxFile) -> bytes:
        """The engine's own file of a model, which may be made on a machine that cannot run it.

        Raises:
            UsageError: it has none.
            MissingError: the package is not installed.
            InputError: the engine refuses the model, in its own words.
        """
        raise UsageError(f"the engine {self} has no file of its own", "it reads the ONNX file: leave --engine away")

    @abstractmethod
    def _compile(self, model: Any) -> Compiled: ...

    @final
    def compile(self, model: Model | OnnxFile) -> "Session":
        """
        Args:
            model: of the kind that this engine takes; an OnnxFile has only its `path`, never a `proto`.

        Raises:
            MissingError: this machine lacks the engine.
            InputError: the wrong kind of model, or the engine refuses it, in its own words.
        """
        name = type(self).__module__.rpartition(".")[2]
        if reason := self.missing():
            raise MissingError(f"the engine {name} cannot run here", reason)
        if not isinstance(model, TorchModel if self.takes == "torch" else OnnxModel | OnnxFile):
            raise InputError(f"the engine {name} takes a {self.takes} model", "export it first")
        try:
            return Session(self._compile(model), model.signature)
        except (InputError, MissingError):
            raise
        except Exception as fault:
            raise InputError(f"{name} refuses the model: {_said(fault)}", "try another engine") from fault

    def __str__(self) -> str:
        name = type(self).__module__.rpartition(".")[2]
        said = [f"{k}={v}" for k, v in vars(self).items() if v != type(self).__dataclass_fields__[k].default]
        return f"{name}({', '.join(said)})" if said else name


@final
class Session:
    """A compiled model with a checked door. Use it as a context manager, or `close` it."""

    def __init__(self, compiled: Compiled, signature: Signature) -> None:
        self.compiled, self.signature = compiled, signature

    def __call__(self, feed: Arrays) -> dict[str, np.ndarray]:
        """Named arrays in, named arrays out, names, dtypes and shapes checked on both sides.

        Raises:
            InputError: the feed does not fit the signature, or the engine fails on it, in its own words.
            ContractError: the engine's answer does not.
        """
        self.signature.check(feed)
        try:
            answer = self.compiled.run(feed)
        except (InputError, MissingError):
            raise
        except Exception as fault:
            raise InputError(
                f"the engine fails on this feed: {_said(fault)}", "see that the model takes such values"
            ) from fault
        try:
            self.signature.check(answer, "outputs")
        except InputError as fault:
            raise ContractError(f"the engine answered outside the signature: {fault}") from fault
        return answer

    def int8_share(self) -> float | None:
        """Share of the heavy layers that the engine executes in INT8; None where it does not show them."""
        return int8_share(self.compiled.layers())

    def close(self) -> None:
        self.compiled.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def int8_share(layers: Sequence[Layer]) -> float | None:
    """Share of the heavy ones that run in INT8; None where there are none to see."""
    heavy = [layer for layer in layers if layer.heavy]
    return sum(layer.precision == "i8" for layer in heavy) / len(heavy) if heavy else None


def _said(fault: Exception) -> str:
    """The last line of an engine's own message."""
    lines = str(fault).strip().splitlines() or [type(fault).__name__]
    return lines[-1][:300]


def available(takes: str) -> list[Engine]:
    """An instance, with default settings, of every engine on this machine that takes that kind of model."""
    from hasten.find import engines

    return [e() for e in engines().values() if e.takes == takes and e.missing() is None]
