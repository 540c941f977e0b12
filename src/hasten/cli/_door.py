"""The two doors: a task file, or an ONNX file with its data beside it."""

import re
from importlib.util import find_spec
from pathlib import Path

from hasten.bundle import Bundle
from hasten.data import Data
from hasten.errors import InputError, UsageError
from hasten.metric import metric as metric_named
from hasten.task import Task

DATA_OPTIONS = ("calibrate", "validate", "test", "metric")


def task_of(path: str, **given: str | None) -> Task:
    """The task that a task file (.py) defines, or the one that an ONNX file and its data make up.

    Args:
        path: what ends in .py is a task file; anything else has to be an ONNX file, which the gate decides later.
        given: values of `DATA_OPTIONS`, as on the command line.

    Raises:
        UsageError: options that do not go with this door, or a metric that does not exist.
        InputError: the file does not exist or cannot be used.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if path.endswith(".py"):
        if said:
            raise UsageError(f"--{next(iter(said))} is for ONNX files", "a task file brings its own data and metric")
        return Task.load(path)
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise InputError(f"{path} {what}", "give a task file (.py) or an ONNX file")
    metric = metric_named(said.pop("metric")).name if "metric" in said else _metric(said.get("validate"))
    return Task.of_files(path, metric, **said)


def tasks_in(folder: str) -> list[Task]:
    """The tasks of the task files in a folder, by name; its other Python files are theirs.

    Raises:
        InputError: there is none, or one cannot be used.
    """
    found = [p for p in sorted(Path(folder).glob("*.py")) if re.search(r"^task\b.*=", p.read_text(), re.MULTILINE)]
    if not found:
        raise InputError(f"{folder} has no task file", "give a folder with files that define `task = Task(...)`")
    return [Task.load(path) for path in found]


def gate(bundle: Bundle) -> None:
    """Let no engine see a network of the bundle that the gate refuses, where there is what the gate needs.

    Raises:
        InputError: a hostile or damaged network; as hasten.diagnose.hostile.
    """
    if find_spec("onnx") is None or find_spec("onnxruntime") is None:
        return  # a runner without them: digests and golden cases are what it has
    from hasten.diagnose.hostile import admit

    for stage in bundle.stages:
        admit(stage.file)


def _metric(validate: str | None) -> str:
    """What accuracy means where nobody has said: agreement with the original, unless there are labels."""
    if validate is not None and Data.load(Path(validate)).target is not None:
        raise UsageError(
            "the data has labels, and nothing says what they mean", "add --metric top1, top5, mse or cosine"
        )
    return "agreement"
