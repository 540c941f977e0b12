"""separable: a convolution becomes several that are cheap by their form: depthwise, crossed, or with a bottleneck."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hasten.compress.factorize import Factorize
from hasten.compress.heal import Heal
from hasten.errors import UsageError
from hasten.model import Model, TorchModel
from hasten.technique import Technique

if TYPE_CHECKING:
    import torch

    from hasten.compress._low_rank import Form
    from hasten.compress._places import Layer
    from hasten.task import Task

MULTIPLE = 8  # channels that engines compute together


@dataclass(frozen=True)
class Separable(Technique):
    """Convolutions with a kernel of more than one place, each in the form of known small networks.

    Where `factorize` asks the weights how much they can spare, the form is given here; each part starts as near to the
    layer as its form allows (least squares), learns to answer as the layer does (block-wise distillation, Li et al.
    2020, arXiv:1911.13053), and then all of them heal together. Depthwise saves most multiply-adds, and engines run
    depthwise layers slowest for what they compute: only the clock says whether it pays. A layer that would not need
    fewer multiply-adds is left alone, and noted.

    Settings:
        form: depthwise is one kernel a channel, then 1x1 (Howard et al. 2017, arXiv:1704.04861); cross is k x 1, then
            1 x k (Szegedy et al. 2016, arXiv:1512.00567); bottleneck is 1x1, k x k, 1x1 (He et al. 2016,
            arXiv:1512.03385).
        width: depthwise: kernels for each channel, a whole number; else channels in between, as a share of the layer's
            own (the fewer of in and out), in multiples of 8.
        blocks: epochs in which each part learns from its layer; 0 is none.
        epochs: of healing; 0 is none.
        lr: the highest rate of both.
        seed: of both.
    """

    form: Literal["depthwise", "cross", "bottleneck"] = "depthwise"
    width: float = 1.0
    blocks: int = 0
    epochs: int = 0
    lr: float = 1e-3
    seed: int = 0

    takes: ClassVar[Literal["torch", "onnx"]] = "torch"

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if self.width <= 0 or (self.form == "depthwise" and self.width != int(self.width)):
            raise UsageError(f"{self} cannot separate", "width is above 0; of depthwise it is a whole number")
        if min(self.blocks, self.epochs, self.seed) < 0 or self.lr <= 0:
            raise UsageError(f"{self} cannot separate", "lr is above 0; blocks, epochs and seed are at least 0")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # of this instance
        return frozenset({"train"} if self.epochs or self.blocks else ())

    @classmethod
    def missing(cls) -> str | None:
        return Factorize.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        return cls(width=3, blocks=1, epochs=epochs), cls("cross", width=0.5, blocks=1, epochs=epochs)

    def apply(self, model: Model, task: "Task") -> TorchModel:
        """
        Raises:
            NotApplicable: no convolution would need fewer multiply-adds; says why, of each.
        """
        from hasten.compress._beside import learnt
        from hasten.compress._low_rank import empty, filled
        from hasten.compress._places import Chains, places, replaced

        assert isinstance(model, TorchModel)
        found, untouched = places(model, task)
        chains: Chains = {}
        for place in found:
            if place.layer.weight[0][0].numel() == 1:
                untouched[place.name] = "it has no kernel to take apart"
                continue
            form, rank = self._form(place.layer)
            cost = place.cost(empty(place.layer, form.parts(place.layer, *rank)))
            if reason := place.too_dear(cost):
                untouched[place.name] = reason
            else:
                chains = {**chains, place.name: filled(place.layer, form, *rank)}
        if self.blocks and chains:
            chains = learnt(model, chains, task, Heal(self.blocks, self.lr, seed=self.seed))
        made = replaced(self, model, chains, untouched)
        return Heal(self.epochs, self.lr, seed=self.seed).train(made, task) if self.epochs else made

    @classmethod
    def replay(cls, module: "torch.nn.Module", edit: Mapping[str, Any], task: "Task") -> "torch.nn.Module":
        return Factorize.replay(module, edit, task)

    def _form(self, layer: "Layer") -> "tuple[Form, tuple[int, ...]]":
        from hasten.compress import _low_rank

        out, into = layer.weight.shape[:2]
        if self.form == "depthwise":
            return _low_rank.Depthwise(), (min(int(self.width), out, layer.weight[0][0].numel()),)
        between = max(MULTIPLE, round(self.width * min(into, out) / MULTIPLE) * MULTIPLE)
        if self.form == "cross":
            return _low_rank.Spatial(), (between,)
        return _low_rank.Tucker(), (min(between, into), min(between, out))
