"""distil: a smaller network learns from the original."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hasten.compress._resize import changed, resized
from hasten.compress.heal import Heal
from hasten.errors import InputError, NotApplicable, UsageError, unknown
from hasten.model import Model, TorchModel
from hasten.technique import Technique

if TYPE_CHECKING:
    import torch

    from hasten.task import Task


@dataclass(frozen=True)
class Distil(Technique):
    """Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531) into a student of the task, or a narrower copy.

    A student has the inputs and outputs of the original. It pays where a smaller network of the same task is known, or
    where the original is wider than the task needs; it needs as much training data as a training.

    Settings:
        student: one of the task's `students`; empty: the network with `width` of its channels and weights drawn anew.
        width: share of the channels that such a copy keeps.
        teachers: of the task's `teachers`, whose answers are learnt beside the original's, in equal parts. That is as
            good as learning the mean of their softened scores; a bundle among them may be an ensemble.
        features: weight of the distance between inner features (Romero et al. 2015, arXiv:1412.6550), of up to three
            pairs of layers, found by depth and size; linear adapters make them comparable, and are left behind.
        attention: weight of the distance between maps of where features are strong (Zagoruyko and Komodakis 2017,
            arXiv:1612.03928), of the same pairs.
        epochs: at most.
        lr: the highest rate.
        batch: samples a step.
        teacher: share of the loss that is the distance to the teachers' answers, 0 to 1.
        temperature: by which scores are softened.
        seed: of the weights and of the order of the samples.
        original: whether the original is one of the teachers; False leaves it to the others.
    """

    student: str = ""
    width: float = 0.5
    teachers: tuple[str, ...] = ()
    features: float = 0.0
    attention: float = 0.0
    epochs: int = 4
    lr: float = 2e-3
    batch: int = 128
    teacher: float = 0.7
    temperature: float = 4.0
    seed: int = 0
    original: bool = True

    forgets: ClassVar[bool] = True
    takes: ClassVar[Literal["torch", "onnx"]] = "torch"
    needs: ClassVar[frozenset[Literal["calibrate", "train"]]] = frozenset({"train"})

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if not (self.original or self.teachers):
            raise UsageError(f"{self} has nobody to learn from", "name teachers, or leave the original among them")
        if not 0 < self.width < 1 or min(self.features, self.attention) < 0:
            raise UsageError(f"{self} cannot train", "width is between 0 and 1, features and attention at least 0")
        self._how()

    @classmethod
    def missing(cls) -> str | None:
        from hasten.compress.prune import Prune

        return Prune.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        """A copy of half the width, and the task's first student, or a copy of a quarter."""
        student = next(iter(task.students), "")
        strong = cls(student, epochs=epochs) if student else cls(width=0.25, epochs=epochs)
        return cls(epochs=epochs), strong

    def apply(self, model: Model, task: "Task") -> TorchModel:
        """
        Raises:
            UsageError: the task has no such student or teacher.
            InputError: a student or teacher with other inputs or outputs.
            NotApplicable: no student is named, and the network cannot be made narrower.
        """
        from hasten.compress._hints import Hints

        assert isinstance(model, TorchModel)
        original = task.original
        if not isinstance(original, TorchModel):
            raise InputError("the original is an ONNX file, and its layers cannot be told", "give a task file")
        further = tuple(_built(task, "teacher", name, task.teachers, original) for name in self.teachers)
        student = self._student(model, task)
        hint = None
        if self.features or self.attention:
            hint = Hints(student, original, task.sample(), self.features, self.attention)
        together = (original, *further) if further else ()
        return self._how().train(student, task, hint, together if self.original else further)

    @classmethod
    def replay(cls, module: "torch.nn.Module", edit: Mapping[str, Any], task: "Task") -> "torch.nn.Module":
        if "sizes" in edit:
            return resized(module, edit["sizes"])
        original = task.original
        assert isinstance(original, TorchModel)
        return _built(task, "student", str(edit["student"]), task.students, original).module

    def _how(self) -> Heal:
        return Heal(self.epochs, self.lr, self.batch, self.teacher, self.temperature, seed=self.seed)

    def _student(self, model: TorchModel, task: "Task") -> TorchModel:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if self.student:
                made = _built(task, "student", self.student, task.students, model)
                return replace(made, history=model.history).edited("distil", {"student": self.student})
            return _narrowed(model, task, self.width)


def _built(task: "Task", what: str, name: str, known: Mapping[str, Any], like: TorchModel) -> TorchModel:
    """One of the task's further networks.

    Raises:
        UsageError: there is none of this name.
        InputError: its inputs or outputs are not those of the original.
    """
    if name not in known:
        raise unknown(f"{what} of the task", name, known)
    made = task.built(known[name], f"{what} {name!r}")
    if made.signature != like.signature:
        raise InputError(f"the {what} {name!r} is {made.signature}", f"the original is {like.signature}")
    return made


def _narrowed(model: TorchModel, task: "Task", width: float) -> TorchModel:
    """The same kind of network with `width` of the channels, and weights drawn anew."""
    import copy

    from hasten.compress.prune import Prune

    try:
        cut = Prune(1 - width, "random").apply(model, task).module
    except NotApplicable as fault:
        reason = fault.what.partition(": ")[2]
        raise NotApplicable(f"distil has nothing to do: the network cannot be made narrower: {reason}") from fault
    made = copy.deepcopy(cut)
    fresh: list[Any] = [layer.reset_parameters for layer in made.modules() if hasattr(layer, "reset_parameters")]
    if not fresh:
        raise NotApplicable("no layer of the network can draw its weights anew")
    for draw in fresh:
        draw()
    return replace(model, module=made).edited("distil", {"sizes": changed(model.module, made)})
