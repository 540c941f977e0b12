"""Does hasten diff find the layer that was tampered with?

    python benchmarks/diff.py [--only NETWORK]

Networks of 50 to 500 nodes, and in one node of a copy a fault of each kind that outputs show: the first layer that diff
names has to be that node. The memory of the command and of all its children together is looked at all the while.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from bar import bar
from commands import HASTEN
from deep import deep
from hasten.export import export
from hasten.model import OnnxModel
from hasten.recipe import Recipe
from hasten.task import Task
from made import example
from shapes import mobilenetv2, resnet50
from tampered import plant

MOST_MB = 1000.0
Made = Callable[[Path], tuple[OnnxModel, list[str]]]


def zoo(name: str, recipe: str = "") -> Made:
    """A network of the zoo, made smaller in bytes perhaps, with real samples."""

    def made(folder: Path) -> tuple[OnnxModel, list[str]]:
        task = example(f"zoo/{name}.py")
        model = export(task.original, task.sample()).model
        np.savez(folder / "data.npz", **task.sample().inputs)
        if recipe:
            data = Task(name, folder / "original.onnx", "agreement", calibrate=task.split("calibrate"))
            model.save(folder / "original.onnx")
            model = Recipe.parse(recipe)(data.original, data)
        return model, ["--data", str(folder / "data.npz")]

    return made


NETWORKS: dict[str, tuple[Made, tuple[str, ...], list[str]]] = {  # name -> network, faults, engines
    "transformer": (
        zoo("transformer"),
        ("a weight nudged", "a transposed weight", "a wrong epsilon", "a softmax over another axis"),
        [],
    ),
    "mobile in INT8": (zoo("mobile", "quantize(method=placed)"), ("a bad Q scale",), []),
    "mobilenetv2": (
        lambda folder: (mobilenetv2(), []),
        ("a wrong pad", "a bound halved", "a swapped activation", "a wrong dilation"),
        [],
    ),
    "resnet50": (lambda folder: (resnet50(), []), ("a wrong pad", "a swapped activation"), []),
    "deep": (
        lambda folder: (deep(15), []),
        (
            "a weight nudged", "a wrong pad", "a swapped activation", "a wrong epsilon", "a transposed weight",
            "a wrong dilation", "a dropped bias", "a softmax over another axis", "a resize of another mode",
        ),
        [],
    ),
    "deep, on two engines": (
        lambda folder: (deep(15), []),
        ("a wrong dilation", "a dropped bias", "a resize of another mode"),
        ["--engine", "onnxruntime", "--engine", "openvino"],
    ),
}  # fmt: skip


def compared(a: Path, b: Path, *more: str) -> tuple[int, dict[str, Any], float]:
    """The exit code of `hasten diff`, its result, and the most memory of its processes together in MB."""
    told = b.with_suffix(".json")
    process = subprocess.Popen(
        [*HASTEN, "diff", str(a), str(b), *more, "--json", str(told), "-q"], stderr=subprocess.PIPE
    )
    peak = [0.0]
    watch = threading.Thread(target=_watch, args=(process, peak))
    watch.start()
    _, said = process.communicate()
    watch.join()
    if process.returncode not in (0, 1):
        raise RuntimeError(said.decode()[-500:])
    return process.returncode, json.loads(told.read_text()), peak[0]


def _watch(process: "subprocess.Popen[bytes]", peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(map(_resident_mb, _family(process.pid))))
        threading.Event().wait(0.02)


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(grandchild for child in children for grandchild in _family(int(child)))]


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--only", choices=NETWORKS)
    args = ask.parse_args()
    passed, found, largest = [], [], 0.0
    for name, (make, kinds, engines) in NETWORKS.items():
        if args.only not in (None, name):
            continue
        with TemporaryDirectory() as scratch:
            model, more = make(Path(scratch))
            whole, bad = Path(scratch) / "whole.onnx", Path(scratch) / "bad.onnx"
            model.save(whole)
            nodes = len(model.proto.graph.node)
            for kind in kinds:
                proto, planted = plant(model.proto, kind)
                onnx.save(proto, bad)
                code, result, peak = compared(whole, bad, *more, *engines)
                first = result["first"] or {"nodes": ["none"], "module": "none", "own": 0.0}
                right = code == 1 and planted in first["nodes"]
                largest, found = max(largest, peak), [*found, kind] if right else found
                what = f"{name}, {nodes} nodes: {kind} in {planted} is found"
                figure = f"{first['module']} {first['nodes'][-1]}, own error {first['own']:.2g}, {peak:.0f} MB"
                passed.append(bar(what, figure, "that node, exit code 1", right))
    passed.append(
        bar("the most memory, all processes together", f"{largest:.0f} MB", f"{MOST_MB:.0f}", largest < MOST_MB)
    )
    if args.only is None:
        kinds_found = len(set(found))
        passed.append(bar("kinds of faults that were found", kinds_found, "at least 10", kinds_found >= 10))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
