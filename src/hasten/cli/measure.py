"""Measure a model, or a bundle, as it is on every engine: latency, throughput, memory, size, arithmetic."""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

if TYPE_CHECKING:
    from hasten.data import Data
    from hasten.engine import Engine
    from hasten.model import OnnxModel


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


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten.bundle import is_bundle
    from hasten.data import Data
    from hasten.measure.machine import conditions
    from hasten.measure.survey import survey
    from hasten.report.table import end_to_end_table, survey_table

    kinds = list(dict.fromkeys(arguments.engine))
    whole = _whole(Path(arguments.what), progress) if is_bundle(arguments.what) and not kinds else []
    shown = [end_to_end_table(whole)] if whole else []
    where = {"command": arguments.command, "conditions": conditions(arguments.seed)}
    if whole and _stages(Path(arguments.what)) > 1:  # an engine runs one file
        return Outcome({**where, "rows": [], "end_to_end": whole}, shown)
    with tempfile.TemporaryDirectory(prefix="hasten-") as scratch:
        progress.stage("reading the model")
        model, samples, engines, task_file = _subject(arguments, Path(scratch), kinds)
        Data(samples.check(model.signature, "the data").inputs).save(Path(scratch) / "feed")
        progress.stage(f"measuring {', '.join(map(str, engines))}")
        rows = survey(model, engines, Path(scratch) / "feed", task_file, arguments.seed)
    answered = any(not row["reason"] for row in rows)
    result = {**where, "rows": rows, "end_to_end": whole}
    refusal = "" if answered else "no engine runs this model"
    return Outcome(result, [survey_table(rows), *shown], refusal, 0 if answered else 1)


def _whole(folder: Path, progress: Progress) -> list[dict[str, Any]]:
    from hasten.measure.whole import end_to_end

    progress.stage("measuring from raw input to decision, in Python and in C++")
    return end_to_end(folder)


def _stages(folder: Path) -> int:
    from hasten import manifest

    return len(manifest.read(folder)["stages"])


def _subject(
    arguments: argparse.Namespace, scratch: Path, kinds: list[str]
) -> "tuple[OnnxModel, Data, list[Engine], Path | None]":
    """The ONNX model as a file, samples for it, the engines to run it on, and the task file where there is one."""
    from hasten.bundle import is_bundle
    from hasten.cli._door import task_of
    from hasten.data import Data
    from hasten.errors import UsageError
    from hasten.export import export
    from hasten.measure.survey import random_samples
    from hasten.model import OnnxModel

    is_file = not arguments.what.endswith(".py") and not is_bundle(arguments.what)
    if arguments.data and not is_file:
        raise UsageError("--data is for ONNX files", "a task file and a bundle bring their own samples")
    if is_bundle(arguments.what):
        return _bundled(Path(arguments.what), kinds)
    engines = _engines(kinds, torch=not is_file)
    task = task_of(arguments.what)
    original = task.original
    if not isinstance(original, OnnxModel):
        return export(original, task.sample()).model.save(scratch / "model.onnx"), task.sample(), engines, task.source
    if not is_file:
        samples = task.sample()
    else:
        samples = (
            Data.load(Path(arguments.data)) if arguments.data else random_samples(original.signature, arguments.seed)
        )
    return original.save(scratch / "model.onnx"), samples, [e for e in engines if e.takes == "onnx"], None


def _bundled(folder: Path, kinds: list[str]) -> "tuple[OnnxModel, Data, list[Engine], Path | None]":
    """A bundle's model with its golden inputs, on the engine it was made for, unless others are named."""
    import numpy as np

    from hasten.bundle import Bundle
    from hasten.cli._door import gate
    from hasten.data import Data
    from hasten.errors import InputError
    from hasten.model import OnnxModel

    with Bundle.load(folder, verify=False) as bundle:
        gate(bundle)
        if len(bundle.stages) != 1:
            raise InputError(f"{folder} has {len(bundle.stages)} stages", "measure it whole, without --engine")
        stage = bundle.stages[0]
        engines = _engines(kinds, torch=False) if kinds else [stage.settled()]
        inputs = {
            t.name: np.concatenate(
                [np.load(folder / case.prepared[t.name], allow_pickle=False) for case in bundle.golden.cases]
            )
            for t in bundle.signature.inputs
        }
        return OnnxModel.load(stage.file), Data(inputs), engines, None


def _engines(kinds: list[str], torch: bool) -> "list[Engine]":
    """Every setting of the engines named, or of all that are here.

    Raises:
        UsageError: there is no such engine, or it takes torch models where there is none.
        MissingError: it is not on this machine.
    """
    from hasten import find
    from hasten.errors import MissingError, UsageError

    chosen = {name: find.engine(name) for name in kinds} or {n: e for n, e in find.engines().items() if not e.missing()}
    for name, kind in chosen.items():
        if reason := kind.missing():
            raise MissingError(f"the engine {name} cannot run here", reason)
        if kinds and kind.takes == "torch" and not torch:
            raise UsageError(f"the engine {name} runs torch models", "give a task file, or another engine")
    usable = [kind for kind in chosen.values() if torch or kind.takes == "onnx"]
    if not usable:
        raise MissingError("no engine that runs ONNX was found", "pip install 'hasten[onnxruntime,openvino]'")
    return [setting for kind in usable for setting in kind.variants(False)]
