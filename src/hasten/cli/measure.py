"""Measure a model, or a bundle, as it is on every engine: latency, throughput, memory, size, arithmetic."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasten.cli import _load
from hasten.cli._arguments import new_file, positive
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="TASK|MODEL.onnx|BUNDLE", help="a task file, an ONNX file, or a folder made by boost"
    )
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="E",
        help="only this one, in each of its precisions; may be repeated (default: all that are here; a bundle's own)",
    )
    parser.add_argument(
        "--data", metavar="F", help="for an ONNX file: samples (.npz, or a folder of .npy) instead of random ones"
    )
    parser.add_argument(
        "--roofline",
        action="store_true",
        help="what each layer takes and achieves, beside what this machine can do (measured once, in half a minute)",
    )
    parser.add_argument(
        "--report", type=new_file, metavar="F.html", help="the same as a page, with the picture of the layers"
    )
    parser.add_argument(
        "--price", type=positive, metavar="P", help="of an hour of this machine, in any currency: what answers cost"
    )
    _load.add(parser)


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten.bundle import is_bundle
    from hasten.cli._subject import subject
    from hasten.data import Data
    from hasten.errors import UsageError
    from hasten.measure.cost import costs
    from hasten.measure.machine import conditions
    from hasten.measure.survey import survey
    from hasten.report import html
    from hasten.report.roofline import roofline_tables
    from hasten.report.table import cost_tables, end_to_end_table, survey_table

    _load.stray(arguments)
    if arguments.scenario:
        return _load.run(arguments, progress)
    if arguments.report:
        html.require()
    kinds, name = list(dict.fromkeys(arguments.engine)), Path(arguments.what).name
    if arguments.roofline and is_bundle(arguments.what) and (count := _stages(Path(arguments.what))) > 1:
        raise UsageError(f"{arguments.what} has {count} stages", "give one of its ONNX files to --roofline")
    whole = _whole(Path(arguments.what), progress) if is_bundle(arguments.what) and not kinds else []
    shown = [end_to_end_table(whole)] if whole else []
    where = {"task": name, "command": arguments.command, "conditions": conditions(arguments.seed)}
    if whole and _stages(Path(arguments.what)) > 1:  # an engine runs one file
        return _told(arguments, {**where, "rows": [], "folded": [], "end_to_end": whole}, shown)
    with tempfile.TemporaryDirectory(prefix="hasten-") as scratch:
        progress.stage("reading the model")
        model, samples, engines, task_file, folded = subject(arguments, Path(scratch), kinds)
        Data(samples.check(model.signature, "the data").inputs).save(Path(scratch) / "feed")
        progress.stage(f"measuring {', '.join(map(str, engines))}")
        rows = survey(model, engines, Path(scratch) / "feed", task_file, arguments.seed, roofline=arguments.roofline)
    size = 1 if model.signature.batch else model.signature.fixed_batch
    rows = [row if row["reason"] else row | {"cost": costs(row, arguments.price, size)} for row in rows]
    said = [f"without a node of their own in the file: {', '.join(folded)}"] if folded and arguments.roofline else []
    result = {**where, "rows": rows, "folded": folded, "end_to_end": whole}
    return _told(arguments, result, [survey_table(rows), *shown, *cost_tables(rows), *roofline_tables(rows), *said])


def _told(arguments: argparse.Namespace, result: dict[str, Any], shown: "Sequence[RenderableType]") -> Outcome:
    """The answer is no where nothing could be measured."""
    from hasten import files
    from hasten.report import measured

    if arguments.report:
        files.write(arguments.report, measured.page(result))
        shown = [*shown, f"report: {arguments.report}"]
    answered = any(not row["reason"] for row in result["rows"] or result["end_to_end"])
    return Outcome(result, shown, *(("", 0) if answered else ("no engine runs this model", 1)))


def _whole(folder: Path, progress: Progress) -> list[dict[str, Any]]:
    from hasten.measure.whole import end_to_end

    progress.stage("measuring from raw input to decision, in Python and in C++")
    return end_to_end(folder)


def _stages(folder: Path) -> int:
    from hasten import manifest

    return len(manifest.read(folder)["stages"])
