"""skip_channels: which channels are silent is chosen for each input."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from hasten.compress.heal import Heal
from hasten.errors import UsageError
from hasten.model import SAID, Model, OnnxModel, TorchModel
from hasten.technique import Kind, Technique

if TYPE_CHECKING:
    from hasten.task import Task

FEWEST = 8  # channels of a layer that gets gates


@dataclass(frozen=True)
class SkipChannels(Technique):
    """Feature boosting and suppression (Gao et al. 2019, arXiv:1810.05331): a small linear layer beside each
    convolution tells from the mean magnitudes of what comes in how salient each channel will be; all but the most
    salient are multiplied by zero, the others by their saliency.

    Network and gates are trained together. **It does not pay on the engines here**: they multiply by the mask, and
    compute what is then zero; the gates cost a little on top. Only hardware or kernels that leave out channels chosen
    at run time would win, and how much of the multiply-adds that could be, on calibration data, is told with the file
    (channels that go out; what a following layer would save is not counted). To be fast here, take `prune`: the same
    channels for all inputs. After it the network is a graph, for which only graph passes remain.

    Settings:
        ratio: share of the channels of each convolution that are silent.
        epochs: of training, at most.
        lr: the highest rate.
        seed: of the gates' weights and of the order of the samples.
    """

    ratio: float = 0.5
    epochs: int = 2
    lr: float = 1e-3
    seed: int = 0

    takes: ClassVar[Kind] = "torch"
    gives: ClassVar[Kind] = "onnx"
    needs: ClassVar[frozenset[Literal["calibrate", "train"]]] = frozenset({"calibrate", "train"})

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if not 0 < self.ratio < 1:
            raise UsageError(f"{self} cannot choose channels", "ratio is between 0 and 1")
        self._how()

    @classmethod
    def missing(cls) -> str | None:
        return Heal.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        return cls(0.25, epochs=epochs), cls(0.5, epochs=epochs)

    def apply(self, model: Model, task: "Task") -> OnnxModel:
        """
        Raises:
            NotApplicable: no convolution can have gates; says why, of each.
        """
        import torch

        from hasten.compress._around import exported
        from hasten.compress._gates import cost, gated, silent
        from hasten.compress._places import places, sample

        assert isinstance(model, TorchModel)
        found, untouched = places(model, task)
        for place in found:
            channels = getattr(place.layer, "out_channels", 0)
            if not channels:
                untouched[place.name] = "it is no convolution"
            elif channels < FEWEST:
                untouched[place.name] = f"it has {channels} channels, and fewer than {FEWEST} are not worth a gate"
        able = [p for p in found if p.name not in untouched]
        if not able:
            raise self.nothing(untouched, "there is no convolution")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = replace(model, module=gated(model.module, able, self.ratio))
        made = self._how().train(made, task)
        size = len(next(iter(sample(model, task).values())))
        feeds = [f for f in task.split("calibrate").spread(128).batches(size) if len(next(iter(f.values()))) == size]
        feeds = [{t.name: feed[t.name] for t in model.signature.inputs} for feed in feeds]
        share = silent(made.module, able, feeds, cost(model.module, sample(model, task)))

        own = {f"{p.name}.layer": p.name for p in able}

        def bare(name: str) -> str:
            return next((own[o] + name[len(o) :] for o in own if f"{name}.".startswith(f"{o}.")), name)

        said = f"{share:.0%} of the multiply-adds are of silent channels; no engine here skips them: it does not pay"
        return exported(made, model, task, bare).noted(SAID, said)

    def _how(self) -> Heal:
        return Heal(self.epochs, self.lr, seed=self.seed)
