"""The stand: one entrant in a child process of its own, pinned to its processors, ready to run in bursts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np

from hasten import find
from hasten.child import Child
from hasten.exits import Exit, stages
from hasten.measure import machine
from hasten.model import OnnxModel, Signature
from hasten.stage import Stage

_LOAD_S, _RUN_S, _DATA_S = 900.0, 300.0, 24 * 3600.0  # limits on what hangs, not on what is slow


@dataclass(frozen=True)
class Entrant:
    """Who takes part.

    Attributes:
        model: an .onnx file, or a task.py whose original model is meant.
        engine: its name.
        settings: the engine's fields, threads included; threads 0 is as many as make sense on this machine.
        stages, signature: of a bundle, or of one to be: what runs in place of the model, its files as to_json names
            them beside the model, and what it takes and gives as a whole.
    """

    model: Path
    engine: str
    settings: Mapping[str, Any]
    stages: tuple[Stage, ...] = ()
    signature: Signature | None = None

    @classmethod
    def of(cls, stages: Sequence[Stage], signature: Signature) -> Self:
        """Whoever runs these stages; it gets as many processors as the one that wants most."""
        most = max((stage.settled() for stage in stages), key=lambda engine: engine.threads)
        name = type(most).__module__.rpartition(".")[2]
        return cls(stages[0].file, name, vars(most), tuple(stages), signature)

    @property
    def label(self) -> str:
        return f"{self.model.stem} on {find.engine(self.engine)(**self.settings)}"


class Stand:
    """A compiled, warmed-up entrant. Use it as a context manager, or `close` it.

    A model with an exit runs as the stages that it is cut into, and `varies`: the time depends on the sample.

    Nothing here waits for a quiet machine: whoever times holds hasten.measure.lock.
    """

    def __init__(self, entrant: Entrant, feed: Path) -> None:
        """
        Args:
            feed: a folder of .npy (Data.save); calls are made with real samples from it.

        Raises:
            HastenError: the engine is missing, refuses the model, or dies of it.
        """
        self.entrant, self.feed = entrant, feed
        self._model = OnnxModel.load(entrant.model) if entrant.model.suffix == ".onnx" else None
        self._exits = self._model is not None and not entrant.stages and Exit.of(self._model.proto) is not None
        self.varies = self._exits or any(stage.unless for stage in entrant.stages)
        self._launch()

    def _launch(self) -> None:
        threads = self.entrant.settings.get("threads") or machine.threads()
        self._child = Child("hasten.measure.subject:Subject", cpus=machine.cpus(threads))
        self._cut = TemporaryDirectory(prefix="hasten-")
        try:
            self._compiled = self._child.call(
                "compile",
                _LOAD_S,
                model=str(self.entrant.model),
                engine=self.entrant.engine,
                settings=dict(self.entrant.settings),
                signature=self._model and (self.entrant.signature or self._model.signature).to_json(),
                feed=str(self.feed),
                **self._stages(),
            )
        except BaseException:
            self.close()
            raise

    def _stages(self) -> dict[str, Any]:
        """Of a model with an exit: what it is cut into, as it is shipped; of stages, these."""
        if given := self.entrant.stages:
            return {"stages": [stage.to_json() for stage in given], "folder": str(self.entrant.model.parent)}
        if self._model is None or not self._exits:
            return {}
        engine = find.engine(self.entrant.engine)(**self.entrant.settings)
        made = stages(self._model, engine, Path(self._cut.name))
        return {"stages": [stage.to_json() for stage in made], "folder": self._cut.name}

    @cached_property
    def facts(self) -> dict[str, Any]:
        """compile_s; precision, the engine's of floating-point layers; layers, as executed: name, op, precision, heavy
        (empty where the engine does not show them); int8_share of the heavy ones, or None.

        Read it after the timing: an engine may compile a twin to show its layers.
        """
        return {**self._compiled, **self._child.call("layers", _LOAD_S)}

    def profile(self, seconds: float) -> dict[str, Any]:
        """layers: name, op, precision, heavy, of, ms; none where the engine does not tell.

        plain_ms and call_ms are what a call takes without and with the account of them, in the same process.
        """
        return dict(self._child.call("profile", _RUN_S, seconds=seconds))

    def burst(self, drop: int, keep: int) -> list[float]:
        """Times in ms of about `keep` calls in a row, after `drop` that do not count; see Subject.burst."""
        return list(self._child.call("burst", _RUN_S, drop=drop, keep=keep))

    def answers(self, data: Path, out: Path) -> dict[str, np.ndarray]:
        """Outputs by name, [N, ...] memory-mapped from `out`, of all samples of a folder of .npy, by this very session.

        Raises:
            InputError: an output has no axis for the samples in front, or its shape differs from call to call.
        """
        names = self._child.call("answers", _DATA_S, data=str(data), out=str(out))
        return {name: np.load(out / f"{i}.npy", mmap_mode="r") for i, name in enumerate(names)}

    def ways(self) -> dict[str, float]:
        """Where the time depends on the sample: `early_share` of the samples that leave early, and `latency_worst_ms`,
        the median of those that do not; else nothing."""
        return dict(self._child.call("ways", _RUN_S)) if self.varies else {}

    def throughput(self) -> tuple[float, int]:
        """Samples a second at the best batch, and that batch (of 1, 2, 4, ... 64 where it is free)."""
        per_s, batch = self._child.call("throughput", _RUN_S)
        return per_s, batch

    def peak_memory_mb(self) -> float:
        """The most memory that was resident (VmHWM), interpreter and engine included, from compiling to warm."""
        return float(self._child.call("peak_memory_mb"))

    def relaunch(self) -> None:
        """Start over in a fresh process: another draw of memory layout."""
        self.close()
        self._launch()

    def close(self) -> None:
        """End the process; harmless when repeated."""
        self._child.close()
        self._cut.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
