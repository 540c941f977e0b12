"""What a verb measures: the ONNX file, samples for it, and the engines to run it on."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hasten.data import Data
    from hasten.engine import Engine
    from hasten.model import OnnxModel


def subject(
    arguments: argparse.Namespace, scratch: Path, kinds: list[str]
) -> "tuple[OnnxModel, Data, list[Engine], Path | None, list[str]]":
    """The ONNX model as a file, samples for it, the engines to run it on, the task file where there is one, and what
    was folded away when the file was made.
    """
    from hasten.bundle import is_bundle
    from hasten.cli._door import task_of
    from hasten.data import Data
    from hasten.errors import UsageError
    from hasten.export import export
    from hasten.graph.fuse import here
    from hasten.measure.survey import random_samples
    from hasten.model import OnnxModel

    is_file = not arguments.what.endswith(".py") and not is_bundle(arguments.what)
    if arguments.data and not is_file:
        raise UsageError("--data is for ONNX files", "a task file and a bundle bring their own samples")
    if is_bundle(arguments.what):
        return *_bundled(Path(arguments.what), kinds), []
    engines = engines_of(kinds, torch=not is_file)
    task = task_of(arguments.what)
    original = task.original
    if not isinstance(original, OnnxModel):
        made = export(original, task.sample()).model.save(scratch / "model.onnx")
        size = 2 if original.signature.batch else original.signature.fixed_batch
        folded = here(original, next(task.sample().batches(size)), made)
        return made, task.sample(), engines, task.source, folded
    if not is_file:
        samples = task.sample()
    else:
        samples = (
            Data.load(Path(arguments.data)) if arguments.data else random_samples(original.signature, arguments.seed)
        )
    return original.save(scratch / "model.onnx"), samples, [e for e in engines if e.takes == "onnx"], None, []


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
        engines = engines_of(kinds, torch=False) if kinds else [stage.settled()]
        inputs = {
            t.name: np.concatenate(
                [np.load(folder / case.prepared[t.name], allow_pickle=False) for case in bundle.golden.cases]
            )
            for t in bundle.signature.inputs
        }
        return OnnxModel.load(stage.file), Data(inputs), engines, None


def engines_of(kinds: list[str], torch: bool) -> "list[Engine]":
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
