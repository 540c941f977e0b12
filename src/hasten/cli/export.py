"""Write a task's model as one ONNX file, its weights inside, compared with torch on real data."""

import argparse
from typing import Any

from hasten.cli import _target as target
from hasten.cli._arguments import new
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "task", metavar="TASK|MODEL.onnx", help="a task file; or an ONNX file, whose external weights are then taken in"
    )
    parser.add_argument("-o", "--output", required=True, type=new, metavar="OUT", help="the file, or folder, to write")
    target.add(parser)


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten.cli._door import task_of
    from hasten.model import OnnxModel

    target.check(arguments)
    task = task_of(arguments.task, calibrate=arguments.calibrate)
    progress.stage("reading the model")
    original = task.original
    how: dict[str, Any]
    if isinstance(original, OnnxModel):
        model, how = original, {"exporter": None, "max_abs_difference": None}
        by = "as it came"
    else:
        from hasten.export import export

        progress.stage("exporting it and comparing with torch")
        made = export(original, task.sample())
        model, how = made.model, {"exporter": made.exporter, "max_abs_difference": made.max_abs_difference}
        by = f"by the {made.exporter} exporter, at most {made.max_abs_difference:.2g} from torch"
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
