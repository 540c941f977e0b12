"""nas: the network is looked for, among those that the task's builder can build."""

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hasten import files
from hasten.compress._space import Point, inherited, network, points
from hasten.compress.heal import Heal
from hasten.errors import NotApplicable, UsageError
from hasten.measure import machine
from hasten.model import Model, TorchModel
from hasten.neighbours import code
from hasten.technique import Technique

if TYPE_CHECKING:
    import torch

    from hasten.compress._halving import Learnt
    from hasten.task import Task

TIMING = 0.3  # of the time, after which candidates are no longer looked for


@dataclass(frozen=True)
class Nas(Technique):
    """Neural architecture search, for a task with a `builder` and a `space`: speed is measured first, then accuracy.

    Networks of the space, in an order that is drawn, are exported with any weights and raced against the original on
    the engine; those that are not fast enough are never trained. The others take over the weights of the original's
    layers of the same name as far as both reach, and learn from its answers on a part of the training data: all for an
    epoch, the better half for two more, and so on (successive halving: Jamieson and Talwalkar 2016, arXiv:1502.07943).
    Who is left learns on all of the data. A search that was interrupted goes on after the last network that it had
    timed or trained. It pays where the shape of the network was never questioned; where a smaller network of the task
    is known, `distil` costs a fraction. What is more accurate in a few epochs need not be so in many.

    Settings:
        speedup: at least so many times as fast as the original.
        candidates: how many that are fast enough learn.
        minutes: of the search, after which no network is timed or trained any more; the last training comes on top.
        samples: of the training data, in an epoch of the search.
        epochs: of the last training, at most.
        lr: the highest rate.
        batch: samples a step.
        teacher: share of the loss that is the distance to the original's answers, 0 to 1.
        temperature: by which scores are softened.
        engine: on which networks are timed; empty: the first here that runs ONNX.
        threads: of that engine; 0: as many as are fastest for the original.
        seed: of the order of the networks, of their weights and of the order of the samples.
    """

    speedup: float = 1.25
    candidates: int = 8
    minutes: float = 20.0
    samples: int = 10_000
    epochs: int = 8
    lr: float = 2e-3
    batch: int = 128
    teacher: float = 0.7
    temperature: float = 4.0
    engine: str = ""
    threads: int = 0
    seed: int = 0

    forgets: ClassVar[bool] = True
    takes: ClassVar[Literal["torch", "onnx"]] = "torch"
    needs: ClassVar[frozenset[Literal["calibrate", "train"]]] = frozenset({"train"})

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if min(self.speedup, self.minutes) <= 0 or min(self.candidates, self.samples) < 1 or self.threads < 0:
            raise UsageError(
                f"{self} cannot search",
                "speedup and minutes are above 0, candidates and samples at least 1, threads at least 0",
            )
        self._how(self.epochs)

    @classmethod
    def missing(cls) -> str | None:
        return Heal.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        """Twice and four times as fast, of a task with a space."""
        short = partial(cls, candidates=4, minutes=float(epochs), samples=4096, epochs=epochs)
        return (short(2.0), short(4.0)) if task.space else ()

    def apply(self, model: Model, task: "Task") -> TorchModel:
        """
        Raises:
            NotApplicable: the task has no space, or no network of it is fast enough; says how fast they are.
            UsageError: an engine that is not known.
        """
        from hasten.compress._halving import Search

        assert isinstance(model, TorchModel)
        every = points(task, self.seed)
        search = Search(self._folder(model, task), self.minutes)
        able = self._fast_enough(search, every, model, task)
        few = replace(task, train=task.raw("train").spread(self.samples))
        point, module = search.survivor(
            able,
            lambda point: inherited(network(task, point, self.seed), model.module).module,
            lambda module, epochs: self._learnt(replace(model, module=module), few, epochs),
        )
        record = {"point": point, "timed": search.timed, "trained": search.trained}
        left = replace(model, module=module).edited("nas", record)
        made = self._how(self.epochs).train(left, task)
        shutil.rmtree(search.folder, ignore_errors=True)
        return made

    @classmethod
    def replay(cls, module: "torch.nn.Module", edit: Mapping[str, Any], task: "Task") -> "torch.nn.Module":
        return network(task, edit["point"]).module

    def _fast_enough(self, search: Any, every: list[Point], model: TorchModel, task: "Task") -> list[Point]:
        """Points whose networks may learn; the engine is started when the first of them has to be timed."""
        from hasten.compress._timed import Yardstick

        with ExitStack() as stack:

            @cache
            def yardstick() -> Yardstick:
                return stack.enter_context(closing(Yardstick(model, task.sample(), self.engine, self.threads)))

            def clock(point: Point) -> tuple[float, float, float]:
                candidate = network(task, point, self.seed)
                found = yardstick().speedup(candidate)
                return found.value, found.low, found.high

            able: list[Point] = search.time(every, clock, self.speedup, self.candidates, TIMING)
        if not able:
            best = max((e["speedup"] or 0.0 for e in search.timed), default=0.0)
            why = next((e["reason"] for e in search.timed if e["reason"]), "")
            raise NotApplicable(
                f"nas has nothing to do: of {len(search.timed)} networks none is {self.speedup:g} times as fast as the "
                f"original, the fastest {best:.3g} times{f'; {why}' if why else ''}",
                "ask for less, or give smaller choices in the space",
            )
        return able

    def _learnt(self, model: TorchModel, task: "Task", epochs: int) -> "Learnt":
        from hasten.compress._halving import Learnt
        from hasten.compress._training import Training

        training = Training(model, task, self._how(epochs), None, ())
        return Learnt(training.best(), max(epoch["score"] for epoch in training.history))

    def _how(self, epochs: int) -> Heal:
        return Heal(epochs, self.lr, self.batch, self.teacher, self.temperature, seed=self.seed)

    def _folder(self, model: TorchModel, task: "Task") -> Path:
        """Named after all that the search depends on, so that another one finds nothing here.

        A longer search, or a longer last training, may go on with what a shorter one found.
        """
        parts = [model.digest(), replace(self, minutes=1.0, epochs=1), dict(task.space), machine.fingerprint()]
        parts += [task.split("train").digest(), task.split("validate").digest()]
        parts += [code(task.source) if task.source else {}, machine.versions()]
        return files.cache_folder() / "nas" / hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
