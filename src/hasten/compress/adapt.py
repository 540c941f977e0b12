"""adapt: what a target lacks, activations, norms, pooling and resizes, in forms that it has."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hasten.compress.heal import Heal
from hasten.errors import InputError, UsageError, unknown
from hasten.model import Model, TorchModel
from hasten.technique import Technique

if TYPE_CHECKING:
    import torch

    from hasten.task import Task

KINDS = (
    "adaptive_pool", "gelu", "group_norm", "hardsigmoid", "hardswish", "instance_norm", "layer_norm", "mean", "mish",
    "resize", "silu",
)  # fmt: skip


@dataclass(frozen=True)
class Adapt(Technique):
    """Layers that a target lacks become others that it has, and the network learns its answers again.

    SiLU, Mish and GELU become a clipped ReLU times their input (Hardswish: Howard et al. 2019, arXiv:1905.02244); norms
    over a sample become batch norms, whose numbers are chosen on calibration data so that each channel keeps its mean
    and its spread; adaptive pooling and means over an image become windows of a fixed length; resizes become those of
    whole factors, or two matrix products. Functional calls are changed as layers are, norms apart. Which form stands
    for what on which target, why, and by whose word, is one table: adapt.toml beside this file. `hasten check` says
    afterwards what is left. Where the table has nothing, the target has the layer: for most networks on CPU engines
    there is nothing to do.

    Settings:
        target: dla, tensorrt, openvino or onnxruntime.
        keep: kinds that stay as they are: silu, mish, gelu, hardswish, hardsigmoid, group_norm, layer_norm,
            instance_norm, adaptive_pool, mean, resize.
        epochs: of healing, where numbers change; 0 is none.
        lr: the highest rate of healing.
        seed: of healing.
    """

    target: Literal["dla", "tensorrt", "openvino", "onnxruntime"] = "dla"
    keep: tuple[str, ...] = ()
    epochs: int = 0
    lr: float = 1e-3
    seed: int = 0

    takes: ClassVar[Literal["torch", "onnx"]] = "torch"

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if odd := [kind for kind in self.keep if kind not in KINDS]:
            raise unknown("kind of layer", odd[0], KINDS)
        if self.epochs < 0 or self.lr <= 0 or self.seed < 0:
            raise UsageError(f"{self} cannot adapt", "lr is above 0, epochs and seed are at least 0")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # of this instance
        return frozenset({"calibrate", "train"} if self.epochs else {"calibrate"})

    @classmethod
    def missing(cls) -> str | None:
        return Heal.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        """One: there is nothing to turn."""
        return (cls(epochs=epochs),)

    def apply(self, model: Model, task: "Task") -> TorchModel:
        """
        Raises:
            NotApplicable: the target has all that the network is made of; says so of each layer.
        """
        from hasten.compress._adapting import planned
        from hasten.compress._places import sample
        from hasten.compress._stand_ins import calibrated, standing

        assert isinstance(model, TorchModel)
        plan = planned(model.module, sample(model, task), self.target, self.keep)
        if not plan.layers and not plan.calls:
            raise self.nothing(plan.untouched, f"there is no layer that {self.target} might lack")
        made = replace(model, module=standing(model.module, plan.layers, plan.calls))
        made = calibrated(made, model, plan.layers, task)
        edit = {"layers": plan.layers, "calls": plan.calls, "untouched": plan.untouched}
        made = made.edited("adapt", edit)
        if self.epochs and not plan.exact:
            return Heal(self.epochs, self.lr, seed=self.seed).train(made, task)
        return made

    @classmethod
    def replay(cls, module: "torch.nn.Module", edit: Mapping[str, Any], task: "Task") -> "torch.nn.Module":
        from hasten.compress._stand_ins import standing

        try:
            return standing(module, edit["layers"], edit["calls"])
        except (AttributeError, TypeError, ValueError) as fault:
            raise InputError(
                f"the network has not all of the layers that were adapted: {sorted(edit['layers'])}",
                "build the network that was compressed",
            ) from fault
