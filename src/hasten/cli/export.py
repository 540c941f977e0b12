"""Write a task's model as one ONNX file, its weights inside, compared with torch on real data."""

import argparse
from typing import TYPE_CHECKING, Any

from hasten.cli import _target as target
from hasten.cli._arguments import new
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

if TYPE_CHECKING:
    from hasten.model import OnnxModel
    from hasten.task import Task

How = dict[str, Any]


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "task", metavar="TASK|MODEL.onnx", help="a task file; or an ONNX file, whose external weights are then taken in"
    )
    parser.add_argument("-o", "--output", required=True, type=new, metavar="OUT", help="the file, or folder, to write")
    parser.add_argument(
        "--fix",
        action="store_true",
        help="write what cannot be exported in a form that can be, with the same answers; of an ONNX file, another "
        "opset where an engine does not read its own",
    )
    target.add(parser)


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from pathlib import Path

    from hasten.cli._door import task_of

    target.check(arguments)
    task = task_of(arguments.task, calibrate=arguments.calibrate)
    progress.stage("reading the model")
    graph = isinstance(task.model, Path)
    model, how, by = (_graph if graph else _module)(task, arguments.fix, progress)
    model = target.worked_on(model, task, arguments, progress)
    if target.named(arguments):
        return target.made(model, task, arguments, progress, how)
    saved = model.save(arguments.output)
    result = {
        "file": str(saved.path),
        "opset": saved.opset,
        "size_mb": saved.size_mb,
        "params": saved.params,
        "signature": saved.signature.to_json(),
        "seed": arguments.seed,
        **how,
    }
    sides = [f"{side}: {', '.join(map(str, getattr(saved.signature, side)))}" for side in ("inputs", "outputs")]
    return Outcome(result, [f"{saved.path}: opset {saved.opset}, {saved.size_mb:.2f} MB, {by}", *sides])


def _graph(task: "Task", fix: bool, progress: Progress) -> "tuple[OnnxModel, How, str]":
    """An ONNX file, as it came or at another opset."""
    from pathlib import Path

    from hasten.model import OnnxModel

    rewrites: tuple[str, ...] = ()
    if fix:
        from hasten.diagnose.opset_fix import readable

        assert isinstance(task.model, Path)
        model, rewrites = readable(task.model)
    else:
        original = task.original
        assert isinstance(original, OnnxModel)
        model = original
    how: How = {"exporter": None, "max_abs_difference": None, "rewrites": list(rewrites)}
    return model, how, ", ".join(rewrites) or "as it came"


def _module(task: "Task", fix: bool, progress: Progress) -> "tuple[OnnxModel, How, str]":
    """A torch module, exported, or an estimator."""
    from hasten.export import export
    from hasten.model import OnnxModel

    rewrites: tuple[str, ...] = ()
    if fix:
        from hasten.diagnose.export_fix import opened

        original, rewrites = opened(task)
    else:
        built = task.original
        if isinstance(built, OnnxModel):
            told: How = {"exporter": None, "max_abs_difference": None, "rewrites": []}
            return built, told, "compared with the estimator's own answers"
        original = built
    progress.stage("exporting it and comparing with torch")
    made = export(original, task.sample(), fix=fix)
    rewrites += made.rewrites
    how: How = {
        "exporter": made.exporter, "max_abs_difference": made.max_abs_difference, "rewrites": list(rewrites)
    }  # fmt: skip
    by = f"by the {made.exporter} exporter, at most {made.max_abs_difference:.2g} from torch"
    return made.model, how, by + (f"; written otherwise: {', '.join(rewrites)}" if rewrites else "")
