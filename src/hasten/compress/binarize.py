"""binarize: weights of one bit, or of three values, and a scale for each output."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hasten.compress.heal import Heal
from hasten.errors import UsageError
from hasten.model import Model, TorchModel
from hasten.technique import Technique

if TYPE_CHECKING:
    import torch

    from hasten.task import Task


@dataclass(frozen=True)
class Binarize(Technique):
    """The sign of a weight and the mean magnitude of its output (Rastegari et al. 2016, arXiv:1603.05279); or zero
    beside it, for weights that are small (Li et al. 2016, arXiv:1605.04711).

    Gradients go through the rounding as if it were not there (straight through: Bengio et al. 2013, arXiv:1308.3432).
    The first and the last layer stay as they are. Activations keep their precision, and ONNX has no type of one bit:
    engines compute as before and nothing is faster. The gain is size: of the values in a file hardly more than a bit
    each is left once it is compressed. Without healing most of the accuracy is gone.

    Settings:
        values: two, or three.
        epochs: of healing; 0 is none.
        lr: the highest rate of healing.
        seed: of healing.
    """

    values: Literal["two", "three"] = "two"
    epochs: int = 0
    lr: float = 1e-3
    seed: int = 0

    takes: ClassVar[Literal["torch", "onnx"]] = "torch"

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if self.epochs < 0 or self.lr <= 0 or self.seed < 0:
            raise UsageError(f"{self} cannot binarize", "lr is above 0, epochs and seed are at least 0")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # of this instance
        return frozenset({"train"} if self.epochs else ())

    @classmethod
    def missing(cls) -> str | None:
        return Heal.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        return cls("three", epochs=epochs), cls("two", epochs=epochs)

    def apply(self, model: Model, task: "Task") -> TorchModel:
        """
        Raises:
            NotApplicable: no layer stands between the first and the last.
        """
        from hasten.compress._held import held, weighted
        from hasten.compress._rounded import Signs

        assert isinstance(model, TorchModel)
        names, untouched = weighted(model, task)
        inner = names[1:-1]
        untouched |= dict.fromkeys([n for n in names if n not in inner], "it is the first or the last layer")
        if not inner:
            raise self.nothing(untouched, "there is no convolution and no linear layer")
        how = Heal(self.epochs, self.lr, seed=self.seed) if self.epochs else None
        made = held(model, {name: Signs(self.values == "three") for name in inner}, task, how)
        return made.edited("binarize", {"layers": inner, "untouched": untouched})

    @classmethod
    def replay(cls, module: "torch.nn.Module", edit: Mapping[str, Any], task: "Task") -> "torch.nn.Module":
        return module  # of the same structure: the values are in the weights
