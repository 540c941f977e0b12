"""What the user tells hasten: the model, its data, and what accuracy means."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from hasten import files, task_file
from hasten.data import Data
from hasten.errors import HastenError, InputError
from hasten.estimator import is_estimator
from hasten.metric import Metric, metric
from hasten.model import Model, OnnxModel, TorchModel
from hasten.neighbours import settle
from hasten.pipeline import Pipeline

if TYPE_CHECKING:
    import torch
    from sklearn.base import BaseEstimator

    from hasten.technique import Technique

Split = Literal["train", "calibrate", "validate", "test"]
Source = Data | Callable[[], Data] | None


@dataclass(frozen=True, eq=False)
class Task:
    """A task file defines one: `task = Task(...)`. Data may be given as functions, called when first needed.

    Attributes:
        name: as printed.
        model: builds the trained module, or a fitted scikit-learn estimator; or the path of an ONNX file.
        metric: a Metric, or a name: top1, top5, mse, cosine, agreement.
        calibrate: typical inputs, a few hundred; ranges for INT8 come from it.
        validate: chooses between candidates; `test` is used once, for the final figure.
        train, loss: where a technique trains: (outputs by name, target) -> scalar torch tensor.
        pipeline: what happens around the network.
        students: functions that build smaller networks, untrained, by name.
        teachers: functions that build further trained networks, by name, from which a student can learn; or folders of
            bundles, as `hasten ensemble` makes them.
        builder: builds an untrained network of the keywords of `space`, with the inputs and outputs of the model.
        space: the values that each keyword of `builder` may have, numbers or texts: {"width": (8, 16)}.
        at_most: how many samples of a part are used, by its name, taken at even distances; all of the others.
    """

    name: str
    model: "Callable[[], torch.nn.Module | BaseEstimator] | Path"
    metric: Metric | str
    calibrate: Source = None
    validate: Source = None
    test: Source = None
    train: Source = None
    loss: Callable[..., Any] | None = None
    pipeline: Pipeline = field(default_factory=Pipeline)
    students: "Mapping[str, Callable[[], torch.nn.Module]]" = field(default_factory=dict)
    teachers: "Mapping[str, Callable[[], torch.nn.Module] | Path]" = field(default_factory=dict)
    builder: "Callable[..., torch.nn.Module] | None" = None
    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    at_most: "Mapping[Split, int]" = field(default_factory=dict)
    source: Path | None = None  # the task file, where there is one: child processes load it again
    origin: "Task | None" = None  # the task as the user gave it, where this one prepares its data otherwise

    def __post_init__(self) -> None:
        def must(good: bool, name: str, expected: str) -> None:
            if not good:
                raise InputError(
                    f"the task's {name} is of type {type(getattr(self, name)).__name__}", f"give {expected}"
                )

        must(isinstance(self.name, str) and bool(self.name), "name", "a text that is not empty")
        must(
            isinstance(self.model, Path)
            or (callable(self.model) and not hasattr(self.model, "state_dict"))
            or isinstance(self.model, type),
            "model",
            "a function without arguments that returns the module, or the Path of an ONNX file",
        )
        must(isinstance(self.metric, str | Metric), "metric", "a Metric, or one of its names")
        for part in ("train", "calibrate", "validate", "test"):
            source = getattr(self, part)
            must(
                source is None or isinstance(source, Data) or callable(source),
                part,
                "Data, or a function that returns it",
            )
        must(self.loss is None or callable(self.loss), "loss", "a function (outputs, target) -> scalar")
        must(isinstance(self.pipeline, Pipeline), "pipeline", "a Pipeline")
        for part in ("students", "teachers"):
            networks = getattr(self, part)
            must(
                isinstance(networks, Mapping)
                and all(callable(n) or (part == "teachers" and isinstance(n, Path)) for n in networks.values()),
                part,
                "a dict of functions that build networks, by name",
            )
        must(self.builder is None or callable(self.builder), "builder", "a function of the keywords of `space`")
        must(isinstance(self.space, Mapping) and all(map(_choices, self.space.values())), "space", "a dict of choices")
        if bool(self.space) != (self.builder is not None):
            raise InputError(
                "the task has a space and no builder" if self.space else "the task has a builder and no space",
                "give both: Task(..., builder=<function of keywords>, space={<keyword>: (<value>, ...)})",
            )
        counts = isinstance(self.at_most, Mapping) and all(
            name in get_args(Split) and isinstance(n, int) and n > 0 for name, n in self.at_most.items()
        )
        must(counts, "at_most", f"a dict of numbers above 0, by {', '.join(get_args(Split))}")
        if isinstance(self.metric, str):
            metric(self.metric)

    @cached_property
    def measure(self) -> Metric:
        """The metric itself."""
        return metric(self.metric) if isinstance(self.metric, str) else self.metric

    @cached_property
    def original(self) -> Model:
        """The model as it was trained; a file has passed the gate, an estimator is converted.

        Raises:
            InputError: it cannot be built, read, or used without danger.
        """
        if self.origin is not None:
            return self.origin.original
        if isinstance(self.model, Path):
            from hasten.diagnose.hostile import admit
            from hasten.provenance import label

            return OnnxModel(label(admit(self.model).proto), self.model)
        made = self._asked(self.model, "model")
        if is_estimator(made):
            from hasten.estimator import converted

            return converted(made, self._shown())
        return self._wrapped(made, "model")

    def module(self) -> "torch.nn.Module":
        """The network as its function builds it, whatever it answers with.

        Raises:
            InputError: it is an ONNX file, or cannot be built.
        """
        if isinstance(self.model, Path):
            raise InputError(f"{self.model} is no torch module", "give a task file")
        return self._torch(self._asked(self.model, "model"), "model")

    def built(self, build: "Callable[[], torch.nn.Module] | Path", what: str) -> TorchModel:
        """A network of the task's, its model, a student or a teacher, as it answers to the task's data.

        Raises:
            InputError: it cannot be built, or fails on the data; `what` is the word for it in the sentence.
            MissingError, Unmet: as Bundle.load, where a bundle is meant.
        """
        if isinstance(build, Path):
            from hasten.compress._bundled import Bundled

            return self._wrapped(Bundled(build, self.pipeline, list(self.sample().inputs)), what)
        return self._wrapped(self._asked(build, what), what)

    def _wrapped(self, made: Any, what: str) -> TorchModel:
        return TorchModel.of(self._torch(made, what), self.sample().take(slice(0, 1)).inputs)

    def _torch(self, module: Any, what: str) -> "torch.nn.Module":
        import torch

        if not isinstance(module, torch.nn.Module):
            raise InputError(
                f"the task's {what} gives a value of type {type(module).__name__}",
                "return the module itself with its weights loaded, or a fitted scikit-learn estimator",
            )
        return module

    def split(self, name: Split) -> Data:
        """One part of the data, prepared; checked once against the model, and against the metric where it is scored.

        Raises:
            InputError: the task has none, or what it has cannot be used.
        """
        if name not in self._checked:
            data = self._prepared(self.raw(name))
            if self.origin is None:  # what another pipeline makes of it is for another signature
                data.check(self.original.signature, name)
            if name in ("validate", "test"):
                self.measure.check(data.target, self.original.signature, name)
            self._checked[name] = data
        return self._checked[name]

    def sample(self) -> Data:
        """A few real inputs, prepared, without a purpose of their own: the first of whichever part there is."""
        parts: tuple[Split, ...] = ("calibrate", "validate", "train", "test")
        part = next((name for name in parts if getattr(self, name) is not None), parts[0])
        return self._prepared(self._seen(self._read(part).take(slice(0, 64))))

    def _shown(self) -> Data:
        """Inputs of what an estimator may see before it is chosen: calibrate, and validate where there is any."""
        parts: tuple[Split, ...] = ("calibrate", "validate")
        found = [self._prepared(self._read(part)).inputs for part in parts if getattr(self, part) is not None]
        found = found or [self.sample().inputs]
        return Data({name: np.concatenate([part[name] for part in found]) for name in found[0]})

    def raw(self, name: Split) -> Data:
        """One part of the data as it came, before the pipeline; of clips, the frames that its window has.

        Raises:
            InputError: the task has none, or what it has cannot be used.
        """
        return self._seen(self._read(name))

    def through(self, pipeline: Pipeline) -> "Task":
        """The task with its data prepared by another pipeline, from what is raw; the original is as it was."""
        root = self.origin or self
        if pipeline == root.pipeline:
            return root
        known = json.dumps(pipeline.to_json())
        if known not in root._others:
            made = root._others[known] = replace(root, pipeline=pipeline, origin=root)
            made.__dict__["_loaded"] = root._loaded  # what has been read is not read again
        return root._others[known]

    def after(self, steps: "Iterable[Technique]") -> "Task":
        """The task as the model sees it that these techniques make of the original: some change the pipeline."""
        root, steps = self.origin or self, list(steps)
        pipeline = root.pipeline
        if any(step.changes_pipeline for step in steps):
            signature = root.original.signature
            for step in steps:
                pipeline, signature = step.pipeline(pipeline, signature), step.signature(signature)
        return root.through(pipeline)

    def seen_by(self, model: Model) -> "Task":
        """The task as this model sees it, by its history since the original."""
        from hasten import find
        from hasten.recipe import Recipe

        lines = model.history[len(self.original.history) :] if model.history else ()
        able = find.techniques().keys()
        return self.after(Recipe.parse(line).steps[0] for line in lines if line.partition("(")[0] in able)

    def _seen(self, data: Data) -> Data:
        """Raw clips with the frames that are looked at, where these are fewer than were given."""
        given, seen = self.origin.pipeline.window if self.origin else None, self.pipeline.window
        if given is None or seen is None or given == seen:
            return data
        frames = seen.among(given)
        clips = {name for name, how in self.pipeline.inputs.items() if how.kind == "image"}
        return replace(data, inputs={k: a[:, frames] if k in clips else a for k, a in data.inputs.items()})

    def _prepared(self, data: Data) -> Data:
        return replace(data, inputs=self.pipeline.prepared(data.inputs))

    def _read(self, name: Split) -> Data:
        if name not in self._loaded:
            source = getattr(self, name)
            if source is None:
                raise InputError(f"the task {self.name!r} has no {name} data", f"give it: Task(..., {name}=...)")
            data = source if isinstance(source, Data) else self._asked(source, f"{name} data")
            if not isinstance(data, Data):
                raise InputError(
                    f"the task's {name} data is of type {type(data).__name__}",
                    "return Data({<input name>: array}, target)",
                )
            self._loaded[name] = data.spread(self.at_most.get(name, len(data))).finite(name)
        return self._loaded[name]

    def _asked(self, function: Callable[[], Any], what: str) -> Any:
        """The answer of one of the user's functions, with its neighbours at hand; what it raises becomes a sentence."""
        if self.source:
            settle(self.source.parent)
        try:
            return function()
        except (HastenError, KeyboardInterrupt):
            raise
        except (Exception, SystemExit) as fault:
            raise InputError(
                f"the task's {what} raises {task_file.where(fault, self.source)}", "mend the function that gives it"
            ) from fault

    @cached_property
    def _loaded(self) -> dict[str, Data]:
        return {}

    @cached_property
    def _others(self) -> "dict[str, Task]":
        """By their pipelines."""
        return {}

    @cached_property
    def _checked(self) -> dict[str, Data]:
        return {}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Run a task file and return its `task`.

        Raises:
            InputError: it does not exist, raises, or defines no task.
        """
        path = Path(path).resolve()
        module = task_file.run(path)
        task = getattr(module, "task", None)
        if not isinstance(task, cls):
            found = f"; its `task` is of type {type(task).__name__}" if task is not None else ""
            raise InputError(f"{path} defines no task{found}", "end it with `task = Task(...)`")
        object.__setattr__(task, "source", path)
        return task

    @classmethod
    def of_files(
        cls,
        model: str | Path,
        metric: str,
        calibrate: str | Path | None = None,
        validate: str | Path | None = None,
        test: str | Path | None = None,
    ) -> Self:
        """The second door: an ONNX file, and archives (.npz, or folders of .npy) by input names and `target`.

        Raises:
            InputError: a file that cannot be read.
        """
        cache = files.cache_folder() / "data"
        parts = {"calibrate": calibrate, "validate": validate, "test": test}
        loaders = {k: partial(Data.load, p, cache) for k, p in parts.items() if p is not None}
        return cls(
            Path(model).stem,
            Path(model),
            metric,
            loaders.get("calibrate"),
            loaders.get("validate"),
            loaders.get("test"),
        )


def _choices(values: object) -> bool:
    """Whether these are numbers or texts to choose from."""
    return isinstance(values, list | tuple) and bool(values) and all(isinstance(v, int | float | str) for v in values)
