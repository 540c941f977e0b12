"""prune: whole channels go, from every layer that makes or hears them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from hasten.compress._resize import changed, resized
from hasten.compress.heal import Heal
from hasten.errors import UsageError
from hasten.model import Model, TorchModel
from hasten.technique import Technique

if TYPE_CHECKING:
    import torch

    from hasten.compress._channels import Channels
    from hasten.task import Task

MULTIPLE = 8  # channels that engines compute together


@dataclass(frozen=True)
class Prune(Technique):
    """Structured pruning by dependency graph (Fang et al. 2023, arXiv:2301.12900; the package torch-pruning).

    Layers that exchange channels lose the same ones. A group of layers is only cut where the smaller network is seen to
    answer as the whole one does with those channels silenced; what cannot be cut is noted with the reason. The outputs
    keep their channels. Fewer multiply-adds are not yet less time: engines compute channels in vectors, so that counts
    are kept at multiples of 8, or at those that somebody has measured. Without healing most of the accuracy is gone.

    Settings:
        ratio: share of the channels that go, of each layer (local) or of all together (global).
        importance: what stays: channels of large weights (l1: Li et al. 2017, arXiv:1608.08710; l2), of large factors
            in batch norm (bn: Liu et al. 2017, arXiv:1708.06519), on which the loss depends most (taylor: Molchanov et
            al. 2019, arXiv:1906.10771), or any (random).
        scope: local takes the same share everywhere; global compares channels over the whole network.
        widths: numbers of channels that are allowed; empty: multiples of 8.
        steps: in which the channels go; after each that takes some the network is healed.
        epochs: of healing after each step; 0 is none.
        lr: the highest rate of healing.
        seed: of `random`, and of healing.
    """

    ratio: float = 0.5
    importance: Literal["l1", "l2", "bn", "taylor", "random"] = "l2"
    scope: Literal["local", "global"] = "local"
    widths: tuple[int, ...] = ()
    steps: int = 1
    epochs: int = 0
    lr: float = 1e-3
    seed: int = 0

    takes: ClassVar[Literal["torch", "onnx"]] = "torch"

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if not 0 < self.ratio < 1 or min(self.widths, default=1) < 1:
            raise UsageError(f"{self} cannot prune", "ratio is between 0 and 1, widths are above 0")
        if self.steps < 1 or self.epochs < 0 or self.lr <= 0 or self.seed < 0:
            raise UsageError(f"{self} cannot prune", "steps is at least 1, lr is above 0, epochs and seed at least 0")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # of this instance
        return frozenset({"train"} if self.epochs or self.importance == "taylor" else ())

    @classmethod
    def missing(cls) -> str | None:
        absent = None if find_spec("torch_pruning") else "torch-pruning is not installed: pip install 'hasten[train]'"
        return absent or Heal.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        return cls(0.3, epochs=epochs), cls(0.5, epochs=epochs)

    def apply(self, model: Model, task: "Task") -> TorchModel:
        """
        Raises:
            NotApplicable: no layer can lose channels; says why each cannot.
        """
        from hasten.compress._channels import Channels

        assert isinstance(model, TorchModel)
        made, channels = model, Channels(model, task)
        whole: Mapping[str, int] = channels.sizes
        fixed: dict[str, str] = {}
        for step in range(self.steps):
            channels = channels if made is model else Channels(made, task)
            gone, fixed = self._chosen(channels, task, whole, step)
            if gone:
                made = replace(made, module=channels.without(gone))
                if self.epochs:
                    made = Heal(self.epochs, self.lr, seed=self.seed).train(made, task)
        if made is model:
            raise self.nothing(fixed, "there is no layer with channels")
        untouched = {name: why for name, why in fixed.items() if channels.sizes.get(name) == whole.get(name)}
        return made.edited("prune", {"sizes": changed(model.module, made.module), "untouched": untouched})

    @classmethod
    def replay(cls, module: "torch.nn.Module", edit: Mapping[str, Any], task: "Task") -> "torch.nn.Module":
        return resized(module, edit["sizes"])

    def _chosen(
        self, channels: "Channels", task: "Task", whole: Mapping[str, int], step: int
    ) -> tuple[dict[str, list[int]], dict[str, str]]:
        """The channels that go, by group, and why the others cannot; `whole`: how many each group had at first."""
        scores = channels.scores(self.importance, task, self.seed + step)
        fixed = channels.fixed | dict.fromkeys(
            channels.sizes.keys() - scores.keys(), f"{self.importance} tells nothing of its channels"
        )
        left = (1 - self.ratio) ** ((step + 1) / self.steps)  # each step takes the same share of what it finds
        goal = {name: left * whole.get(name, len(score)) for name, score in scores.items()}
        if self.scope == "global" and scores:
            every = np.concatenate(list(scores.values()))
            weak = np.quantile(every, max(0.0, 1 - sum(goal.values()) / len(every)))
            goal = {name: float((score > weak).sum()) for name, score in scores.items()}
        gone: dict[str, list[int]] = {}
        for name, score in scores.items():
            has, allowed = len(score), self._allowed(len(score))
            kept = min([*allowed, has], key=lambda w: (abs(w - goal[name]), w))
            if kept < has:
                gone[name] = sorted(np.argsort(score, kind="stable")[: has - kept].tolist())
            elif allowed:
                fixed[name] = f"of the numbers allowed its {has} channels are nearest to {goal[name]:.3g}"
            else:
                fixed[name] = f"its {has} channels are the fewest allowed"
        if not gone or channels.removable(gone):
            return gone, fixed
        able = {name: which for name, which in gone.items() if channels.removable({name: which})}
        fixed |= dict.fromkeys(
            gone.keys() - able.keys(), "a norm, attention or forward itself depends on all of its channels"
        )
        while able and not channels.removable(able):  # each alone can go, but not all together
            last = able.popitem()[0]
            fixed[last] = "it cannot go together with others"
        return able, fixed

    def _allowed(self, has: int) -> list[int]:
        """The numbers of channels below `has` that are allowed."""
        return [w for w in self.widths or range(MULTIPLE, has, MULTIPLE) if w < has]
