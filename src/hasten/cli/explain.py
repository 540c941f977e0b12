"""Say why a model, or a bundle, is not faster: reasons with figures and remedies, most time first."""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

if TYPE_CHECKING:
    from hasten.diagnose.slow import Evidence


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="TASK|MODEL.onnx|BUNDLE", help="a task file, an ONNX file, or a folder made by boost"
    )
    parser.add_argument(
        "--against", metavar="OTHER.onnx", help="another file of the same network: what takes longer here than there"
    )
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="E",
        help="on this one; may be repeated (default: the fastest that is here; a bundle's own)",
    )
    parser.add_argument(
        "--data", metavar="F", help="for an ONNX file: samples (.npz, or a folder of .npy) instead of random ones"
    )


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten import manifest
    from hasten.bundle import is_bundle
    from hasten.cli._door import task_of
    from hasten.cli._subject import subject
    from hasten.data import Data
    from hasten.diagnose.evidence import gather
    from hasten.diagnose.slow import explain
    from hasten.errors import UsageError
    from hasten.measure.machine import conditions
    from hasten.model import OnnxModel
    from hasten.report.slow import slow_tables

    kinds = list(dict.fromkeys(arguments.engine))
    if is_bundle(arguments.what) and (stages := len(manifest.read(Path(arguments.what))["stages"])) > 1:
        raise UsageError(f"{arguments.what} has {stages} stages", "give one of its ONNX files")
    with tempfile.TemporaryDirectory(prefix="hasten-") as scratch:
        progress.stage("reading the model")
        other = task_of(arguments.against).original if arguments.against else None
        if not isinstance(other, OnnxModel | None):
            raise UsageError(f"{arguments.against} is no ONNX file", "export it first: hasten export")
        model, samples, engines, _, _ = subject(arguments, Path(scratch), kinds)
        feed = Path(scratch) / "feed"
        Data(samples.check(model.signature, "the data").inputs).save(feed)
        if other is not None:
            samples.check(other.signature, f"the data, for {arguments.against}")
        progress.stage("measuring what its layers take")
        seen = gather(model, [e for e in engines if e.takes == "onnx"], feed, arguments.seed)
        against = None
        if other is not None:
            progress.stage(f"measuring {arguments.against}")
            beside = gather(other.save(Path(scratch) / "other.onnx"), [seen.engine], feed, arguments.seed)
            against = _against(seen, beside, str(arguments.against))
        progress.stage("looking for reasons")
        findings = [finding.to_json() for finding in explain(seen)]
    result = {
        "task": Path(arguments.what).name,
        "command": arguments.command,
        "conditions": conditions(arguments.seed),
        "engine": str(seen.engine),
        "latency_p50_ms": seen.ms,
        "findings": findings,
        "against": against,
    }
    return Outcome(result, slow_tables(result))


def _against(seen: "Evidence", beside: "Evidence", name: str) -> dict[str, Any]:
    from hasten.diagnose.slow import differences

    return {
        "task": Path(name).name,
        "engine": str(beside.engine),
        "latency_p50_ms": beside.ms,
        "modules": list(differences(seen, beside)),
    }
