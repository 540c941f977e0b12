"""heal: a network that was changed learns its task again. Every technique that trains does it through this one."""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Literal

from hasten.errors import UsageError
from hasten.model import Model, TorchModel
from hasten.technique import Technique

if TYPE_CHECKING:
    from hasten.compress._learner import Hint
    from hasten.task import Task


@dataclass(frozen=True)
class Heal(Technique):
    """Train the whole network on, towards the labels and towards the original's own answers.

    AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), whose rate rises for a tenth of the steps and then falls along
    a cosine to zero. The distance to the original is the Kullback-Leibler divergence of softened scores (Hinton et al.
    2015, arXiv:1503.02531) where the metric is one of a choice between classes, else the mean square in units of the
    original's variance. After each epoch the network is scored on validate; the weights of the best epoch stay. A run
    that was interrupted goes on after its last whole epoch. Started by `torchrun` or `accelerate launch`, it trains in
    several processes or on several GPUs.

    Settings:
        epochs: at most.
        lr: the highest rate.
        batch: samples a step, in all processes together; a model of fixed batch takes its own.
        teacher: share of the loss that is the distance to the original, 0 to 1; where the task has no loss or no labels
            it is all of it.
        temperature: by which scores are softened.
        patience: epochs without a gain after which it stops.
        precision: of autocast; auto takes what is fastest here, by a few steps, channels_last among it. f32 and bf16
            give the same numbers each time.
        seed: of the order of the samples.
    """

    epochs: int = 2
    lr: float = 1e-3
    batch: int = 128
    teacher: float = 0.5
    temperature: float = 4.0
    patience: int = 5
    precision: Literal["auto", "f32", "bf16"] = "auto"
    seed: int = 0

    takes: ClassVar[Literal["torch", "onnx"]] = "torch"
    needs: ClassVar[frozenset[Literal["calibrate", "train"]]] = frozenset({"train"})

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if min(self.epochs, self.batch, self.patience) < 1 or self.seed < 0:
            raise UsageError(f"{self} cannot train", "epochs, batch and patience are at least 1, seed is at least 0")
        if not (0 <= self.teacher <= 1 and self.temperature > 0 and self.lr > 0):
            raise UsageError(f"{self} cannot train", "teacher is from 0 to 1, temperature and lr are above 0")

    @classmethod
    def missing(cls) -> str | None:
        return None if find_spec("accelerate") else "accelerate is not installed: pip install 'hasten[train]'"

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        """None: it is what the gain of others is held against."""
        return ()

    def apply(self, model: Model, task: "Task") -> TorchModel:
        assert isinstance(model, TorchModel)
        return self.train(model, task)

    def train(
        self, model: TorchModel, task: "Task", hint: "Hint | None" = None, teachers: tuple[TorchModel, ...] = ()
    ) -> TorchModel:
        """The same network with trained weights.

        Args:
            hint: a further term of the loss, of what inner layers give.
            teachers: whose answers are learnt in equal parts; none: the original's.

        Raises:
            InputError: there is nothing to learn from, or the loss is no longer a number.
        """
        from hasten.compress._training import Training

        return replace(model, module=Training(model, task, self, hint, teachers).best())
