"""drop_layers: whole blocks go, those first without which the answers change least."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from hasten.compress.heal import Heal
from hasten.errors import InputError, UsageError
from hasten.model import Arrays, Model, TorchModel
from hasten.technique import Technique

if TYPE_CHECKING:
    import torch

    from hasten.task import Task

SAMPLES = 128  # by which the blocks are judged


@dataclass(frozen=True)
class DropLayers(Technique):
    """Depth pruning: a block that gives what has the shape of what it is given can be left out (Veit et al. 2016,
    arXiv:1605.06431; of transformers Fan et al. 2020, arXiv:1909.11556).

    Each block is left out in turn on the calibration samples; the one goes that changes the answers least for each
    multiply-add that it saves, and the others are judged again. Of residual networks and transformers these are whole
    blocks with their skip. All of the saved time is seen on every engine, since nothing becomes smaller that engines
    compute together; but the steps are coarse, and shallow networks have nothing to spare.

    Settings:
        ratio: share of the network's multiply-adds that may go.
        epochs: of healing; 0 is none.
        lr: the highest rate of healing.
        seed: of healing.
    """

    ratio: float = 0.3
    epochs: int = 0
    lr: float = 1e-3
    seed: int = 0

    takes: ClassVar[Literal["torch", "onnx"]] = "torch"

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if not 0 < self.ratio < 1 or self.epochs < 0 or self.lr <= 0 or self.seed < 0:
            raise UsageError(
                f"{self} cannot drop layers", "ratio is between 0 and 1, lr above 0, epochs and seed are at least 0"
            )

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # of this instance
        return frozenset({"calibrate", "train"} if self.epochs else {"calibrate"})

    @classmethod
    def missing(cls) -> str | None:
        return Heal.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        return cls(0.3, epochs=epochs), cls(0.5, epochs=epochs)

    def apply(self, model: Model, task: "Task") -> TorchModel:
        """
        Raises:
            NotApplicable: no block can go; says why, of each.
        """
        from hasten.compress._blocks import blocks, without

        assert isinstance(model, TorchModel)
        feed = _few(model, task)
        found, whole, untouched = blocks(model.module, feed)
        wanted = _answers(model.module, feed)
        gone: list[str] = []
        spared = 0
        while True:
            able = {n: macs for n, macs in found.items() if 0 < macs <= self.ratio * whole - spared and _apart(n, gone)}
            harm = {n: _distance(_answers(without(model.module, [*gone, n]), feed), wanted) / able[n] for n in able}
            harm = {n: each for n, each in harm.items() if np.isfinite(each)}
            if not harm:
                break
            gone.append(min(harm, key=lambda n: harm[n]))
            spared += found[gone[-1]]
        for name, macs in found.items():
            if _apart(name, gone):
                untouched[name] = f"it is {macs / whole:.0%} of the multiply-adds, more than may still go"
        if not gone:
            raise self.nothing(untouched, "there is no block of several layers")
        made = replace(model, module=without(model.module, gone))
        made = made.edited("drop_layers", {"gone": gone, "untouched": untouched})
        return Heal(self.epochs, self.lr, seed=self.seed).train(made, task) if self.epochs else made

    @classmethod
    def replay(cls, module: "torch.nn.Module", edit: Mapping[str, Any], task: "Task") -> "torch.nn.Module":
        from hasten.compress._blocks import without

        try:
            return without(module, edit["gone"])
        except AttributeError as fault:
            raise InputError(
                f"the network has not all of the blocks that were dropped: {edit['gone']}",
                "build the network that was compressed",
            ) from fault


def _few(model: TorchModel, task: "Task") -> Arrays:
    """Calibration samples; a whole call where the batch is fixed."""
    size = SAMPLES if model.signature.batch else model.signature.fixed_batch
    data = task.split("calibrate")
    rows = np.linspace(0, len(data) - 1, min(size, len(data))).round().astype(int)
    return {t.name: np.resize(a := data.inputs[t.name][rows], (size, *a.shape[1:])) for t in model.signature.inputs}


def _answers(module: "torch.nn.Module", feed: Arrays) -> Arrays:
    from hasten.engines.torch import call

    return call(copy.deepcopy(module).eval(), feed)


def _distance(made: Arrays, wanted: Arrays) -> float:
    """Mean square in units of the variance of `wanted`, over all outputs of floats."""
    terms = [np.square(made[k] - v).mean() / max(v.var(), 1e-12) for k, v in wanted.items() if v.dtype.kind == "f"]
    return float(np.mean(terms)) if terms else float(np.mean([(made[k] != v).mean() for k, v in wanted.items()]))


def _apart(name: str, gone: list[str]) -> bool:
    """Neither is within the other."""
    return not any(f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.") for other in gone)
