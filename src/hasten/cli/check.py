"""Say what a target makes of every node: native, falls back or refused, why, and what to use instead."""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

if TYPE_CHECKING:
    from hasten.data import Data
    from hasten.model import OnnxModel

_SETTINGS = {"provider": "onnxruntime", "build": "tensorrt"}  # option -> the target whose setting it is


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="TASK|MODEL.onnx|BUNDLE", help="a task file, an ONNX file, or a folder made by boost"
    )
    parser.add_argument(
        "--target",
        type=_target,
        required=True,
        metavar="T",
        help="onnxruntime, openvino, tensorrt (NVIDIA's parser, out of TensorRT-RTX; no GPU is needed) or dla (an "
        "estimate by the published rules)",
    )
    parser.add_argument(
        "--data", metavar="F", help="for an ONNX file: samples (.npz, or a folder of .npy) instead of random ones"
    )
    parser.add_argument(
        "--provider", metavar="P", help="onnxruntime: the execution provider that is to run it (default: the CPU's)"
    )
    parser.add_argument("--build", action="store_true", help="tensorrt: compile the whole network ahead of time, too")


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten.diagnose.support import check
    from hasten.errors import UsageError
    from hasten.measure.machine import conditions
    from hasten.report.support import support_tables

    settings = {name: getattr(arguments, name) for name in _SETTINGS if getattr(arguments, name)}
    for name in settings:
        if arguments.target != _SETTINGS[name]:
            raise UsageError(f"--{name} is for {_SETTINGS[name]}", f"leave it out, or check --target {_SETTINGS[name]}")
    with tempfile.TemporaryDirectory(prefix="hasten-") as scratch:
        progress.stage("reading the model")
        model, samples = _subject(arguments, Path(scratch))
        progress.stage(f"asking {arguments.target} about every node")
        found = check(model, arguments.target, samples.inputs, arguments.seed, **settings)
    result: dict[str, Any] = {
        "task": Path(arguments.what).name,
        "command": arguments.command,
        "conditions": conditions(arguments.seed),
        **found.to_json(),
    }
    refused = [row.node for row in found.rows if row.word == "refused"]
    refusal = found.refusal or (f"{arguments.target} refuses {len(refused)} of its nodes" if refused else "")
    return Outcome(result, support_tables(result), refusal, 0 if found.accepted else 1)


def _subject(arguments: argparse.Namespace, scratch: Path) -> "tuple[OnnxModel, Data]":
    """The network, and samples for it. An ONNX file only has to be sound: that an engine refuses it is the answer."""
    from hasten.bundle import is_bundle
    from hasten.cli._subject import subject
    from hasten.data import Data
    from hasten.diagnose.hostile import admit
    from hasten.measure.survey import random_samples

    if arguments.what.endswith(".py") or is_bundle(arguments.what):
        model, samples, *_ = subject(arguments, scratch, [])
        return model, samples
    model = admit(arguments.what, runs=False)
    if arguments.data:
        return model, Data.load(Path(arguments.data)).check(model.signature, "the data")
    return model, random_samples(model.signature, arguments.seed)


def _target(text: str) -> str:
    from hasten.diagnose.support import target_named

    target_named(text)
    return text
