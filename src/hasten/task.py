"""What the user tells hasten: the model, its data, and what accuracy means."""

import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from hasten import files
from hasten.data import Data
from hasten.errors import HastenError, InputError
from hasten.metric import Metric, metric
from hasten.model import Model, OnnxModel, TorchModel
from hasten.pipeline import Pipeline

if TYPE_CHECKING:
    import torch

Split = Literal["train", "calibrate", "validate", "test"]
Source = Data | Callable[[], Data] | None


@dataclass(frozen=True, eq=False)
class Task:
    """A task file defines one: `task = Task(...)`. Data may be given as functions, called when first needed.

    Attributes:
        name: as printed.
        model: builds the trained module, or the path of an ONNX file.
        metric: a Metric, or a name: top1, top5, mse, cosine, agreement.
        calibrate: typical inputs, a few hundred; ranges for INT8 come from it.
        validate: chooses between candidates; `test` is used once, for the final figure.
        train, loss: where a technique trains: (outputs by name, target) -> scalar torch tensor.
        pipeline: what happens around the network.
        students, space: smaller networks by name, and a search space, for the techniques that ask.
    """

    name: str
    model: "Callable[[], torch.nn.Module] | Path"
    metric: Metric | str
    calibrate: Source = None
    validate: Source = None
    test: Source = None
    train: Source = None
    loss: Callable[..., Any] | None = None
    pipeline: Pipeline = field(default_factory=Pipeline)
    students: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None  # the task file, where there is one: child processes load it again

    @cached_property
    def measure(self) -> Metric:
        """The metric itself."""
        return metric(self.metric) if isinstance(self.metric, str) else self.metric

    @cached_property
    def original(self) -> Model:
        """The model as it was trained.

        Raises:
            InputError: it cannot be built or read.
        """
        if isinstance(self.model, Path):
            from hasten.provenance import label

            return OnnxModel(label(OnnxModel.load(self.model).proto), self.model)
        try:
            module = self.model()
        except HastenError:
            raise
        except Exception as fault:
            raise InputError(f"the task's model raises {_where(fault, self.source)}", "mend the function that builds it") from fault
        return TorchModel.of(module, self.sample().take(slice(0, 1)).inputs)

    def split(self, name: Split) -> Data:
        """One part of the data, loaded once and checked against the model where that is an ONNX file.

        Raises:
            InputError: the task has none, or what it has cannot be used.
        """
        if name not in self._loaded:
            source = getattr(self, name)
            if source is None:
                raise InputError(f"the task {self.name!r} has no {name} data", f"give it: Task(..., {name}=...)")
            try:
                data = source if isinstance(source, Data) else source()
            except HastenError:
                raise
            except Exception as fault:
                raise InputError(f"the task's {name} data raises {_where(fault, self.source)}", "mend the function that loads it") from fault
            self._loaded[name] = data
        return self._loaded[name]

    def sample(self) -> Data:
        """A few real inputs, without a purpose of their own: the first of whichever part there is."""
        part = next((n for n in ("calibrate", "validate", "train", "test") if getattr(self, n) is not None), "calibrate")
        return self.split(part).take(slice(0, 64))  # type: ignore[arg-type]

    @cached_property
    def _loaded(self) -> dict[str, Data]:
        return {}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Run a task file and return its `task`.

        Raises:
            InputError: it does not exist, raises, or defines no task.
        """
        path = Path(path).resolve()
        if not path.is_file():
            raise InputError(f"{path} does not exist", "check the path of the task file")
        spec = spec_from_file_location(f"hasten_task_{path.parent.name}", path)
        if spec is None or spec.loader is None:
            raise InputError(f"{path} is not a Python file", "a task file is a .py that defines `task = Task(...)`")
        module, before = module_from_spec(spec), set(sys.modules)
        sys.path.insert(0, str(path.parent))
        try:
            spec.loader.exec_module(module)
        except HastenError:
            raise
        except BaseException as fault:
            if isinstance(fault, KeyboardInterrupt):
                raise
            raise InputError(f"{path} raises {_where(fault, path)}", "mend the task file") from fault
        finally:  # its neighbours (net.py, data.py) are its own: another task may have files of the same names
            for name in set(sys.modules) - before:
                if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == path.parent:
                    del sys.modules[name]
        task = getattr(module, "task", None)
        if not isinstance(task, cls):
            raise InputError(f"{path} defines no task", "end it with `task = Task(...)`")
        object.__setattr__(task, "source", path)
        return task

    @classmethod
    def of_files(cls, model: str | Path, metric: str, calibrate: str | Path | None = None, validate: str | Path | None = None,
                 test: str | Path | None = None) -> Self:
        """The second door: an ONNX file and archives (.npz, or folders of .npy) whose keys are input names and `target`.

        Raises:
            InputError: a file that cannot be read.
        """
        cache = files.cache_folder() / "data"
        parts = {"calibrate": calibrate, "validate": validate, "test": test}
        loaders = {k: (lambda p=p: Data.load(p, cache)) for k, p in parts.items() if p is not None}
        return cls(Path(model).stem, Path(model), metric, **loaders)


def _where(fault: BaseException, path: Path | None) -> str:
    """`ValueError: text (task.py, line 12)`: the last line of the user's own file."""
    frames = traceback.extract_tb(fault.__traceback__)
    own = [f for f in frames if path and Path(f.filename).parent == path.parent]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(fault).__name__}: {fault}{place}"
