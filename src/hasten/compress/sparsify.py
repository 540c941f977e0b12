"""sparsify: single weights become zero, wherever they are."""

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
class Sparsify(Technique):
    """Unstructured pruning by magnitude (Han et al. 2015, arXiv:1506.02626), gradually (Zhu and Gupta 2017,
    arXiv:1710.01878), or two of every four weights along the inputs (Mishra et al. 2021, arXiv:2104.08378).

    Shapes stay as they are. ONNX Runtime and OpenVINO multiply with zeros as with anything else, so that on a CPU no
    time is saved; the file is smaller once it is compressed. TensorRT has kernels for 2:4 on some GPUs. What is zero
    stays zero while this technique heals; another one after it that trains knows nothing of it.

    Settings:
        ratio: share of the weights that become zero, of convolutions and linear layers; 2:4 has its own, one half.
        pattern: free, or 2:4, for which a layer needs a multiple of four inputs.
        scope: local takes the same share of every layer; global compares weights over the whole network, in units of
            the mean magnitude of their layer.
        steps: in which the weights go, most of them early (Zhu and Gupta's cubic); after each the network is healed.
        epochs: of healing after each step; 0 is none.
        lr: the highest rate of healing.
        seed: of healing.
    """

    ratio: float = 0.5
    pattern: Literal["free", "2:4"] = "free"
    scope: Literal["local", "global"] = "local"
    steps: int = 1
    epochs: int = 0
    lr: float = 1e-3
    seed: int = 0

    takes: ClassVar[Literal["torch", "onnx"]] = "torch"

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range, or two that contradict each other.
        """
        if not 0 < self.ratio < 1 or self.steps < 1 or self.epochs < 0 or self.lr <= 0 or self.seed < 0:
            raise UsageError(
                f"{self} cannot make sparse",
                "ratio is between 0 and 1, steps at least 1, lr above 0, epochs and seed are at least 0",
            )
        if self.pattern == "2:4" and (self.ratio, self.scope, self.steps) != (0.5, "local", 1):
            raise UsageError(
                f"{self} cannot make sparse", "2:4 is one half of every layer in one step: leave the others"
            )

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # of this instance
        return frozenset({"train"} if self.epochs else ())

    @classmethod
    def missing(cls) -> str | None:
        return Heal.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        return cls(0.5, epochs=epochs), cls(0.8, epochs=epochs)

    def apply(self, model: Model, task: "Task") -> TorchModel:
        """
        Raises:
            NotApplicable: no layer has weights that can go; says why, of each.
        """
        from hasten.compress._held import held, weighted, weights
        from hasten.compress._masked import OF_FOUR, Masked, masks

        assert isinstance(model, TorchModel)
        names, untouched = weighted(model, task)
        if self.pattern == "2:4":
            inputs = {name: weight.shape[1] for name, weight in weights(model.module, names).items()}
            uneven = {name: n for name, n in inputs.items() if n % OF_FOUR}
            untouched |= {name: f"its {n} inputs are no multiple of {OF_FOUR}" for name, n in uneven.items()}
            names = [name for name in names if name not in uneven]
        if not names:
            raise self.nothing(untouched, "there is no convolution and no linear layer")
        made = model
        how = Heal(self.epochs, self.lr, seed=self.seed) if self.epochs else None
        for step in range(self.steps):
            share = self.ratio * (1 - (1 - (step + 1) / self.steps) ** 3)
            kept = masks(weights(made.module, names), self.pattern, self.scope, share)
            made = held(made, {name: Masked(mask) for name, mask in kept.items()}, task, how)
        zeros = {name: float((w == 0).float().mean()) for name, w in weights(made.module, names).items()}
        return made.edited("sparsify", {"zeros": zeros, "untouched": untouched})

    @classmethod
    def replay(cls, module: "torch.nn.Module", edit: Mapping[str, Any], task: "Task") -> "torch.nn.Module":
        return module  # of the same structure: the zeros are in the weights
