"""Say where two models, or one on two engines, begin to differ: outputs, then the first layer that does by itself."""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hasten.cli._arguments import positive
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

if TYPE_CHECKING:
    from hasten.data import Data
    from hasten.diagnose.differ.side import Side
    from hasten.engine import Engine

_KINDS = "TASK|MODEL.onnx|BUNDLE"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help=f"{_KINDS}: a task file, an ONNX file, or a folder made by boost")
    parser.add_argument("b", metavar="B", help=f"{_KINDS}: what it is compared with")
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="E",
        help="on this one, with settings perhaps: 'openvino(hint=bf16)'; given twice, the first is for A, the second "
        "for B (default: torch for a task, a bundle's own, the first that is here for a file)",
    )
    parser.add_argument("--data", metavar="F", help="prepared samples (.npz, or a folder of .npy) instead of their own")
    parser.add_argument(
        "--tolerance",
        type=positive,
        metavar="SHARE",
        help="of the largest magnitude of a tensor, by which it may differ (default: 2^-13 in f32, 2^-5 where either "
        "is in INT8, 2^-4 in bf16, 2^-7 in f16)",
    )


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten.data import Data
    from hasten.diagnose.differ.differ import differ
    from hasten.errors import UsageError
    from hasten.measure.machine import conditions
    from hasten.measure.survey import random_samples
    from hasten.report.diff import diff_tables

    if len(arguments.engine) > 2:
        raise UsageError(f"{len(arguments.engine)} engines are named", "name one for both sides, or one for each")
    engines: list[Engine | None] = [_engine(text) for text in arguments.engine] or [None]
    with tempfile.TemporaryDirectory(prefix="hasten-") as scratch:
        progress.stage("reading the models")
        (a, theirs), (b, mine) = _side(arguments.a, engines[0]), _side(arguments.b, engines[-1])
        samples = Data.load(Path(arguments.data)) if arguments.data else theirs or mine
        samples = samples or random_samples(a.signature, arguments.seed)
        found = differ(a, b, Data(samples.inputs), Path(scratch) / "runs", arguments.tolerance, progress)
    made = {"command": arguments.command, "conditions": conditions(arguments.seed)} | found.to_json()
    said = "" if found.same else found.verdict
    return Outcome(made, diff_tables(made), said, 0 if found.same else 1)


def _side(what: str, engine: "Engine | None") -> "tuple[Side, Data | None]":
    """And its own samples, where it has any."""
    from hasten.bundle import Bundle, is_bundle
    from hasten.cli._door import gate, task_of
    from hasten.diagnose.differ.side import golden_samples, of_bundle, of_task

    if is_bundle(what):
        with Bundle.load(what, verify=False) as bundle:
            gate(bundle)
            return of_bundle(bundle, engine), golden_samples(bundle)
    task = task_of(what)
    side = of_task(task, what, engine)
    return side, task.sample() if what.endswith(".py") else None


def _engine(text: str) -> "Engine":
    from hasten.diagnose.remedy import parsed
    from hasten.errors import MissingError, UsageError

    try:
        engine = parsed(text)
    except ValueError as fault:
        raise UsageError(
            f"{text!r} has a setting that is no whole number", "write it like openvino(threads=2)"
        ) from fault
    if reason := engine.missing():
        raise MissingError(f"the engine {engine} cannot run here", reason)
    return engine
