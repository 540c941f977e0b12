"""factorize: a layer becomes several of low rank, each smaller, that come near to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hasten.compress.heal import Heal
from hasten.errors import UsageError
from hasten.model import Model, TorchModel
from hasten.technique import Technique

if TYPE_CHECKING:
    import torch

    from hasten.compress._places import Place
    from hasten.task import Task

MULTIPLE = 8  # channels that engines compute together
HALVINGS = 20  # of the interval in which the energy is sought
Method = Literal["spatial", "svd", "tucker", "cp"]


@dataclass(frozen=True)
class Factorize(Technique):
    """Low rank: what a layer's weights hold in few directions is computed in those alone.

    Convolutions of one to three dimensions, and linear layers. Every layer keeps the same share of its energy (the sum
    of squared singular values), so that layers with much to spare give more than others; where a layer would not need
    fewer multiply-adds it is left alone, and noted. One layer becomes two or three that run after each other: where
    layers are small, or memory is what they wait for, that takes longer than before. Without healing much of the
    accuracy is gone.

    Settings:
        ratio: share of the multiply-adds that goes, of the layers that it can work on.
        method: spatial is k x 1, then 1 x k (Jaderberg et al. 2014, arXiv:1405.3866); svd the layer with few outputs,
            then 1x1 (Zhang et al. 2016, arXiv:1505.06798); tucker 1x1, k x k, 1x1 (Kim et al. 2016, arXiv:1511.06530);
            cp the same with a depthwise k x k (Lebedev et al. 2015, arXiv:1412.6553). Linear layers and 1x1 take two of
            their kind with any of them.
        energy: share of the energy that every layer keeps, in place of `ratio`; 0: as much as `ratio` leaves. Not with
            cp, whose parts have no energies of their own.
        epochs: of healing; 0 is none.
        lr: the highest rate of healing.
        seed: of healing.
    """

    ratio: float = 0.5
    method: Method = "spatial"
    energy: float = 0.0
    epochs: int = 0
    lr: float = 1e-3
    seed: int = 0

    takes: ClassVar[Literal["torch", "onnx"]] = "torch"

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if not 0 < self.ratio < 1 or not 0 <= self.energy < 1 or (self.energy and self.method == "cp"):
            raise UsageError(f"{self} cannot factorize", "ratio and energy are between 0 and 1; cp takes ratio alone")
        if self.epochs < 0 or self.lr <= 0 or self.seed < 0:
            raise UsageError(f"{self} cannot factorize", "lr is above 0, epochs and seed are at least 0")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # of this instance
        return frozenset({"train"} if self.epochs else ())

    @classmethod
    def missing(cls) -> str | None:
        absent = None if find_spec("tensorly") else "tensorly is not installed: pip install 'hasten[train]'"
        return absent or Heal.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        return cls(0.3, epochs=epochs), cls(0.5, epochs=epochs)

    def apply(self, model: Model, task: "Task") -> TorchModel:
        """
        Raises:
            NotApplicable: no layer would need fewer multiply-adds; says why, of each.
        """
        from hasten.compress._places import places, replaced

        assert isinstance(model, TorchModel)
        found, untouched = places(model, task)
        shelves = [_Ranks(place, self.method) for place in found]
        energy = self.energy or self._energy(shelves)
        chains = {}
        for shelf in shelves:
            if reason := shelf.place.too_dear(shelf.cost(energy)):
                untouched[shelf.place.name] = reason
            else:
                chains[shelf.place.name] = shelf.chain(energy)
        made = replaced(self, model, chains, untouched)
        return Heal(self.epochs, self.lr, seed=self.seed).train(made, task) if self.epochs else made

    @classmethod
    def replay(cls, module: "torch.nn.Module", edit: Mapping[str, Any], task: "Task") -> "torch.nn.Module":
        from hasten.compress._places import built

        return built(module, edit["layers"])

    def _energy(self, shelves: "Sequence[_Ranks]") -> float:
        """The most that all may keep at which the multiply-adds are within what `ratio` leaves."""
        allowed = (1 - self.ratio) * sum(shelf.place.macs for shelf in shelves)
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if sum(min(shelf.place.macs, shelf.cost(middle)) for shelf in shelves) > allowed:
                high = middle
            else:
                low = middle
        return low


class _Ranks:
    """The ranks that a layer has at a given energy, what they cost, and the chain that they make."""

    def __init__(self, place: "Place", method: Method) -> None:
        from hasten.compress import _low_rank

        forms: dict[str, type[_low_rank.Form]] = {
            "svd": _low_rank.Outputs,
            "tucker": _low_rank.Tucker,
            "cp": _low_rank.Polyadic,
        }
        pointwise = place.layer.weight[0][0].numel() == 1  # two parts are all that it can become
        kind = _low_rank.Spatial if pointwise and method != "svd" else forms.get(method, _low_rank.Spatial)
        self.place, self._form = place, kind()
        self._kept = [_energies(matrix) for matrix in self._form.spectra(place.layer)]
        self._known: dict[tuple[int, ...], int] = {}

    def chain(self, energy: float) -> "torch.nn.Sequential":
        from hasten.compress._low_rank import filled

        return filled(self.place.layer, self._form, *self._ranks(energy))

    def cost(self, energy: float) -> int:
        """Multiply-adds."""
        return self._cost(self._ranks(energy))

    def _cost(self, ranks: tuple[int, ...]) -> int:
        from hasten.compress._low_rank import empty

        if ranks not in self._known:
            self._known[ranks] = self.place.cost(empty(self.place.layer, self._form.parts(self.place.layer, *ranks)))
        return self._known[ranks]

    def _ranks(self, energy: float) -> tuple[int, ...]:
        """Without energies to go by, that share of the multiply-adds."""
        if not self._kept:
            each = self._cost((MULTIPLE,)) / MULTIPLE
            return (_rounded(int(energy * self.place.macs / each), self.place.layer.weight.numel()),)
        return tuple(_rounded(int((kept < energy).sum()) + 1, len(kept)) for kept in self._kept)


def _rounded(rank: int, most: int) -> int:
    return min(most, max(MULTIPLE, -(-rank // MULTIPLE) * MULTIPLE))


def _energies(matrix: "torch.Tensor") -> "torch.Tensor":
    """Share of the energy that the first 1, 2, ... singular values hold."""
    import torch

    squares: torch.Tensor = torch.linalg.svdvals(matrix).square()
    return squares.cumsum(0) / squares.sum().clamp_min(torch.finfo(squares.dtype).tiny)
