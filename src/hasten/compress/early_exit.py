"""early_exit: samples that are easy to tell leave after the first part of the network."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from hasten.compress.heal import Heal
from hasten.errors import UsageError, unknown
from hasten.metric import Metric
from hasten.model import Model, OnnxModel, TorchModel
from hasten.technique import Kind, Technique

if TYPE_CHECKING:
    from hasten.compress._exits import Place
    from hasten.task import Task

WORTH = 0.95  # of the multiply-adds, on the average: an exit that saves less is none
SUM = 1e-3  # by which answers that sum to one may miss it


@dataclass(frozen=True)
class _Found:
    """A head at the lowest threshold that loses no more than is allowed."""

    place: int
    threshold: float
    leave: float  # share of the samples of validate
    cost: float  # multiply-adds of an average sample, as a share of the network's


@dataclass(frozen=True)
class EarlyExit(Technique):
    """Depth that depends on the input (Teerapittayanon et al. 2016, BranchyNet, arXiv:1709.01686; Kaya et al. 2019,
    arXiv:1810.07052): a small head behind an inner block answers, and where it is sure the rest is left out.

    Heads behind up to four blocks are trained together, towards the labels and the original's answers, on a network
    that stays as it is. Their temperature is fitted (Guo et al. 2017, arXiv:1706.04599), and then the lowest threshold
    of each is found at which the metric falls by no more than `max_drop`, both on validate. The head stays with which
    an average sample costs least. What comes out is one ONNX graph with both answers and the choice between them, right
    on every engine; hasten runs and ships it as two stages, of which the second begins with what the first hands over.

    It pays where most inputs are easy and are asked one by one. The slowest answer takes a little longer than before,
    a batch is only as quick as its hard samples, and where one answer must keep a deadline nothing is won. Figures of
    time are means over real samples. Threshold and temperature are of the data they were found on: where harder inputs
    come, fewer leave. It works on networks that give one row of logits a sample.

    Settings:
        after: the block behind which the head stands; empty: the one that pays most.
        max_drop: what may be lost on validate, in the metric's unit.
        epochs: of training the heads, at most.
        lr: the highest rate.
        batch: samples a step.
        teacher: share of the loss that is the distance to the original's answers, 0 to 1.
        seed: of the heads' weights and of the order of the samples.
    """

    after: str = ""
    max_drop: float = 0.003
    epochs: int = 4
    lr: float = 2e-3
    batch: int = 128
    teacher: float = 0.5
    seed: int = 0

    takes: ClassVar[Kind] = "torch"
    gives: ClassVar[Kind] = "onnx"
    needs: ClassVar[frozenset[Literal["calibrate", "train"]]] = frozenset({"train"})

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if self.max_drop < 0:
            raise UsageError(f"{self} cannot choose a threshold", "max_drop is at least 0")
        self._how()

    @classmethod
    def missing(cls) -> str | None:
        return Heal.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        return cls(epochs=epochs), cls(max_drop=0.006, epochs=epochs)

    def apply(self, model: Model, task: "Task") -> OnnxModel:
        """
        Raises:
            UsageError: there is no such block, or no head can stand behind it.
            NotApplicable: answers that are no logits of classes, no inner block, or no head that is sure of enough.
        """
        from hasten.compress._around import exported
        from hasten.compress._exits import Choice, answers, temperature, trained
        from hasten.exits import Exit, cut, marked
        from hasten.model import SAID

        assert isinstance(model, TorchModel)
        whole, places, untouched = self._subject(model, task)
        heads = trained(model, task, places, self._how())
        data, metric = task.split("validate"), task.measure
        output = model.signature.outputs[0].name
        target = whole if metric.reference or data.target is None else data.target
        classes = target if target.ndim == 1 and target.dtype.kind in "iu" else whole.argmax(1)
        quick = []
        for head, logits in zip(heads, answers(model, heads, places, data), strict=True):
            heat = temperature(logits, classes)
            head.cool(heat)
            quick.append(logits / heat)
        rows = [np.asarray(metric.rows({output: a.astype(np.float32)}, target)) for a in (*quick, whole)]
        found = [self._threshold(i, p, quick[i], rows[i], rows[-1], metric) for i, p in enumerate(places)]
        best = min(found, key=lambda f: f.cost)
        if best.cost > WORTH:
            untouched |= {p.name: _told(f) for p, f in zip(places, found, strict=True)}
            raise self.nothing(untouched, "")
        place = places[best.place]
        module = Choice(model.module, place.name, heads[best.place], best.threshold).eval()
        chosen = TorchModel(module, model.signature, model.history)
        made = marked(exported(chosen, model, task, lambda name: name.removeprefix("net.")), Exit(best.threshold))
        cut(made)  # that it can be
        said = f"{best.leave:.0%} of validate leave behind {place.name}, where the head is {best.threshold:.1%} sure"
        return made.noted(SAID, said)

    def _how(self) -> Heal:
        return Heal(self.epochs, self.lr, self.batch, self.teacher, seed=self.seed)

    def _subject(self, model: TorchModel, task: "Task") -> "tuple[np.ndarray, list[Place], dict[str, str]]":
        """The network's own answers on validate, logits [N, classes]; where heads can stand; why not elsewhere."""
        from hasten.compress._exits import SAMPLES, places
        from hasten.compress._teacher import answers_of

        outputs = model.signature.outputs
        shape = outputs[0].shape
        if len(outputs) != 1 or len(shape) != 2 or not isinstance(shape[1], int) or shape[1] < 2:
            raise self.nothing({}, "an exit is for networks that give one row of logits a sample, and no more")
        whole = next(iter(answers_of(model, task.split("validate")).values()))
        if whole.dtype.kind != "f" or bool(((whole >= 0).all(1) & (np.abs(whole.sum(1) - 1) < SUM)).all()):
            raise self.nothing({}, "the answers are no logits: let the network leave its softmax to who reads them")
        size = SAMPLES if model.signature.batch else model.signature.fixed_batch
        inputs = {t.name: task.sample().inputs[t.name] for t in model.signature.inputs}
        feed = {name: np.resize(a, (size, *a.shape[1:])) for name, a in inputs.items()}
        found, untouched = places(model, feed, self.after)
        if self.after and not found:
            able = places(model, feed)[0]
            raise unknown("block with an exit behind it", self.after, [p.name for p in able])
        if not found:
            raise self.nothing(untouched, "there is no inner block that gives one tensor of floats")
        return whole, found, untouched

    def _threshold(
        self, number: int, place: "Place", logits: np.ndarray, quick: np.ndarray, whole: np.ndarray, metric: Metric
    ) -> _Found:
        """Of one head."""
        from hasten.exits import lowest_threshold

        scores = np.exp(logits - logits.max(1, keepdims=True))
        sure = scores.max(1) / scores.sum(1)
        edge, leave = lowest_threshold(sure, quick, whole, metric, self.max_drop)
        return _Found(number, edge, leave, leave * place.share + (1 - leave))


def _told(found: _Found) -> str:
    return f"of its answers {found.leave:.0%} are sure enough, too few to pay"
