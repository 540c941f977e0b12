"""A technique: model -> model. One file each in compress/ (torch) and graph/ (ONNX)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import numpy as np

from hasten.errors import ContractError, InputError, MissingError, NotApplicable
from hasten.model import Model, OnnxModel, Signature, TorchModel
from hasten.pipeline import Pipeline
from hasten.provenance import carry, missing_names

if TYPE_CHECKING:
    import torch

    from hasten.task import Task

Kind = Literal["torch", "onnx"]


@dataclass(frozen=True)
class Technique(ABC):
    """A frozen dataclass whose fields are its settings: search point, log line and cache key in one.

    A subclass says what it `takes` and `needs`, and implements `apply`; calling it checks both sides:

        requires   the right kind of model, the data it needs
        ensures    what it `gives` is of the right kind; the model that came in is unchanged; the signature is as
                   declared, and takes what the pipeline makes that is declared with it; outputs are finite; an ONNX
                   node still tells the user's module that it came from, and a torch model how it was edited
    """

    takes: ClassVar[Kind] = "onnx"
    gives: ClassVar[Kind | None] = None  # what it takes, unless it says otherwise
    forgets: ClassVar[bool] = False  # draws weights anew, so that whatever stood before it is lost
    needs: ClassVar[frozenset[Literal["calibrate", "train"]]] = frozenset()

    @classmethod
    def missing(cls) -> str | None:
        """Why this technique cannot run on this machine, and the command that mends it; None when it can."""
        return None

    @classmethod
    def variants(cls, model: OnnxModel) -> "tuple[Technique, ...]":
        """The settings worth trying on this graph, most promising first; a search that makes its own recipes asks.

        None unless a technique says otherwise: then it is only used in recipes that name it.
        """
        return ()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> "tuple[Technique, ...]":
        """Two settings to compare it by, the mild one first; what trains does so for `epochs`.

        One, where there is nothing to turn; none for what is only there to support others, or cannot do without a word.
        """
        whole = all(f.default is not MISSING or f.default_factory is not MISSING for f in fields(cls))
        return (cls(),) if whole else ()

    @property
    def milder(self) -> "Technique | None":
        """The settings to try next where these lose more than is allowed; None where there are none."""
        return None

    @abstractmethod
    def apply(self, model: Model, task: "Task") -> Model:
        """A new model.

        Raises:
            NotApplicable: this model gives it nothing to do; says why.
        """

    @classmethod
    def replay(cls, module: "torch.nn.Module", edit: Mapping[str, Any], task: "Task") -> "torch.nn.Module":
        """A module with the structure that `edit`, recorded by `apply`, gave; weights are put in afterwards.

        Raises:
            InputError: the edit does not fit the module.
        """
        raise InputError(f"{cls.__name__} changes no structure", "the plan is not one that hasten wrote")

    def nothing(self, untouched: Mapping[str, str], otherwise: str) -> NotApplicable:
        """To be raised where no layer can be worked on: why, of each; `otherwise` where there is not one."""
        said = "; ".join(f"{name}: {reason}" for name, reason in untouched.items())
        return NotApplicable(f"{self} has nothing to do: {said or otherwise}")

    def signature(self, before: Signature) -> Signature:
        """The signature it leaves; the same unless a technique declares another."""
        return before

    def pipeline(self, before: Pipeline, signature: Signature) -> Pipeline:
        """The pipeline for the model it leaves; the same unless a technique declares another.

        Data, bundles and golden cases behind this step are then made through it, from what is raw.

        Args:
            signature: of the model that the step is given.
        """
        return before

    @property
    def changes_pipeline(self) -> bool:
        """Whether it declares one at all."""
        return type(self).pipeline is not Technique.pipeline

    @final
    def __call__(self, model: Model, task: "Task") -> Model:
        """Apply with both contracts checked; the step is added to the model's history."""
        if _kind(model) != self.takes:
            raise InputError(f"{self} works on a {self.takes} model", "put it on the other side of `export`")
        if reason := self.missing():
            raise MissingError(f"{self} cannot run here", reason)
        task = task.seen_by(model)
        for split in self.needs:
            task.split(split)
        before = model.digest()
        made = self.apply(model, task)
        if model.digest() != before:
            raise ContractError(f"{self} changed the model that it was given")
        if _kind(made) != (self.gives or self.takes):
            raise ContractError(f"{self} made {type(made).__name__} of {type(model).__name__}")
        if isinstance(made, OnnxModel) and isinstance(model, OnnxModel):
            made = OnnxModel(carry(model.proto, made.proto))
            if lost := missing_names(model.proto, made.proto):
                raise ContractError(f"{self} lost the source module of {len(lost)} nodes, {lost[0]!r} among them")
        if made.signature != self.signature(model.signature):
            declared = self.signature(model.signature)
            raise ContractError(f"{self} left the signature {made.signature}, declared {declared}")
        if isinstance(made, TorchModel) and isinstance(model, TorchModel):
            self._check_edits(model, made)
        _finite(self, made, task.through(self.pipeline(task.pipeline, model.signature)))
        return made.recorded((*model.history, str(self)))

    def _check_edits(self, before: TorchModel, after: TorchModel) -> None:
        """What was done to the structure is on record, or a checkpoint could not be read again."""
        shapes = [{k: v.shape for k, v in m.module.state_dict().items()} for m in (before, after)]
        if shapes[0] != shapes[1] and len(after.edits) == len(before.edits):
            raise ContractError(f"{self} changed the structure of the network and recorded no edit")
        if after.edits[: len(before.edits)] != before.edits:
            raise ContractError(f"{self} lost edits that were made before it")

    def __str__(self) -> str:
        """As a recipe writes it: the name of its file, and the settings that are not the default."""
        name = type(self).__module__.rpartition(".")[2]
        said = [f"{f.name}={_plain(getattr(self, f.name))}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{name}({', '.join(said)})" if said else name


def _kind(model: Model) -> Kind:
    return "torch" if isinstance(model, TorchModel) else "onnx"


def _plain(value: object) -> str:
    """A setting as a recipe writes it: barewords for text, () around several."""
    return f"({' '.join(map(_plain, value))})" if isinstance(value, tuple) else str(value)


def _finite(step: Technique, model: Model, task: "Task") -> None:
    """Run a few real samples, on whichever engine is here, and refuse answers that are not numbers."""
    from hasten.engine import available

    data = task.sample()
    for engine in available("torch" if isinstance(model, TorchModel) else "onnx")[:1]:
        with engine.compile(model) as session:
            count = 8 if model.signature.batch else model.signature.fixed_batch
            feed = {k: np.resize(v, (count, *v.shape[1:])) for k, v in next(data.batches(count)).items()}
            for name, array in session(feed).items():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise ContractError(f"{step} gives values of {name!r} that are not finite")
