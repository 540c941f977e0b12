"""Does explain name the true cause, and does its first remedy help?

    python benchmarks/explain.py [--part causes|remedies]

Causes: six graphs, each made to be slow for one reason. Remedies: MobileNetV2 (random weights) and EfficientNet-Lite0
in INT8 as NNCF writes it, on ONNX Runtime; the first remedy is applied by program, and both files race.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import libraries
from bar import bar
from hasten import find
from hasten.data import Data
from hasten.diagnose.evidence import gather
from hasten.diagnose.remedy import applied
from hasten.diagnose.slow import Evidence, Finding, explain
from hasten.measure.latency import race
from hasten.measure.lock import quiet
from hasten.measure.stand import Entrant, Stand
from hasten.measure.survey import random_samples
from hasten.measure.threads import best_threads
from hasten.model import OnnxModel
from hasten.task import Task
from networks import build
from shapes import mobilenetv2

SAMPLES = 32


class Graph:
    """A network as it grows, over a value of one shape without the batch."""

    def __init__(self, *shape: int | str, seed: int = 0) -> None:
        self.shape, self.value, self._rng = shape, "x", np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def weight(self, array: Any) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def normal(self, *shape: int) -> np.ndarray:
        return (self._rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def node(self, op: str, *more: str, **settings: Any) -> None:
        made = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, [self.value, *more], [made], name=f"{op}_{made}", **settings))
        self.value = made

    def conv(self, given: int, made: int, side: int = 3) -> None:
        self.node("Conv", self.weight(self.normal(made, given, side, side)), pads=[side // 2] * 4)

    def stored(self) -> None:
        ends = self.weight(np.float32(0.05)), self.weight(np.uint8(128))
        self.node("QuantizeLinear", *ends)
        self.node("DequantizeLinear", *ends)

    def model(self, *made: int | str) -> OnnxModel:
        ends = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", *self.shape)),
            helper.make_tensor_value_info(self.value, TensorProto.FLOAT, ("N", *made)),
        ]
        graph = helper.make_graph(self._nodes, "made", ends[:1], ends[1:], self._weights)
        return OnnxModel(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def misplaced(int8: bool = True) -> OnnxModel:
    """Q and DQ around activations alone: nothing can be fused, everything is converted to and fro."""
    net = Graph(64, 28, 28)
    for _ in range(6):
        net.conv(64, 64, 1)
        if int8:
            net.stored()
        net.node("Relu")
        if int8:
            net.stored()
    return net.model(64, 28, 28)


def depthwise() -> OnnxModel:
    """Along time, as in networks for speech: this engine has a quick way for those of pictures alone."""
    net = Graph(256, 1000)
    for _ in range(6):
        net.node("Conv", net.weight(net.normal(256, 1, 9)), pads=[4, 4], group=256)
        net.node("Relu")
    return net.model(256, 1000)


def memory() -> OnnxModel:
    net = Graph(4096)
    for _ in range(4):
        net.node("MatMul", net.weight(net.normal(4096, 4096)))
    return net.model(4096)


def large() -> OnnxModel:
    """Made for one thread, it is slow for want of the second."""
    net = Graph(128, 28, 28)
    for _ in range(6):
        net.conv(128, 128)
        net.node("Relu")
    return net.model(128, 28, 28)


def overhead() -> OnnxModel:
    net = Graph(8)
    for i in range(150):
        net.node(("Sin", "Abs", "Tanh")[i % 3])
        net.node("MatMul", net.weight(net.normal(8, 8)))
    return net.model(8)


def channels() -> OnnxModel:
    net = Graph(33, 56, 56)
    for _ in range(6):
        net.conv(33, 33)
    return net.model(33, 56, 56)


CAUSES: dict[str, tuple[str, Callable[[], OnnxModel], str, int]] = {  # name -> cause, graph, engine, threads
    "misplaced Q and DQ": ("conversions", misplaced, "onnxruntime", 1),
    "depthwise layers": ("depthwise", depthwise, "onnxruntime", 1),
    "large products of one row": ("memory", memory, "openvino", 1),
    "one thread for large layers": ("threads", large, "openvino", 1),
    "300 small layers": ("overhead", overhead, "onnxruntime", 1),
    "33 channels": ("channels", channels, "openvino", 2),
}


def look(path: Path, engine: str, threads: int, feed: Path) -> tuple[Evidence, list[Finding]]:
    seen = gather(OnnxModel.load(path), [find.engine(engine)(threads=threads)], feed)
    found = explain(seen)
    print(f"{path.stem} on {seen.engine}: {seen.ms:.3g} ms")
    for finding in found:
        print(f"  {finding.reason}, {finding.ms:.3g} ms: {finding.what}; {finding.remedy} {finding.apply or ''}")
    return seen, found


def speedup(entrants: list[Entrant], feed: Path) -> tuple[float, float, float]:
    """Of the second over the first."""
    with quiet():
        stands = [Stand(entrant, feed) for entrant in entrants]
        try:
            gain = race(stands).speedup(1, over=0)
        finally:
            for stand in stands:
                stand.close()
    return gain.value, gain.low, gain.high


def causes(scratch: Path) -> list[bool]:
    passed = []
    for name, (cause, make, engine, threads) in CAUSES.items():
        model = make().save(scratch / f"{make.__name__}.onnx")
        feed = scratch / f"{make.__name__}-feed"
        random_samples(model.signature, 0).save(feed)
        assert model.path
        _, found = look(model.path, engine, threads, feed)
        first = found[0].reason if found else "none"
        passed.append(bar(f"{name}: the first cause", first, cause, first == cause))
        if make is misplaced:
            plain = misplaced(int8=False).save(scratch / "floats.onnx").path
            assert plain
            value, low, high = speedup([Entrant(p, engine, {"threads": threads}) for p in (model.path, plain)], feed)
            passed.append(
                bar(f"{name}: its floats are faster", f"{value:.3g} [{low:.3g}, {high:.3g}]", "above 1", low > 1)
            )
    return passed


def remedies(scratch: Path) -> list[bool]:
    passed = []
    path = mobilenetv2().save(scratch / "mobilenetv2.onnx").path
    assert path
    rng = np.random.default_rng(0)
    np.savez(scratch / "data.npz", x=rng.normal(size=(SAMPLES, 3, 224, 224)).astype(np.float32))
    light = build("efficientnet")
    for name, model, data in (
        ("mobilenetv2", path, scratch / "data.npz"),
        ("efficientnet", light.model, light.data("calibrate")),
    ):
        int8, feed = scratch / f"{name}-int8.onnx", scratch / f"{name}-feed"
        libraries.nncf(model, data, int8, transformer=False)
        Data.load(data).take(slice(0, SAMPLES)).save(feed)
        engine = "onnxruntime"
        threads = best_threads(int8, engine, {}, feed)
        seen, found = look(int8, engine, threads, feed)
        first = next(iter(found), None)
        what = f"{name} in INT8: the first remedy ({first.reason if first else 'none'})"
        if first is None or first.apply is None or "batch" in first.apply:
            passed.append(bar(what, "nothing to apply", "faster", False))
            continue
        task = Task.of_files(model, "agreement", calibrate=data, validate=data)
        made, after = applied(first.apply, seen.model, seen.engine, task)
        file = made.save(scratch / f"{name}-after.onnx").path
        assert file
        if "recipe" in first.apply:
            after = replace(after, threads=best_threads(file, engine, {}, feed))
        entrants = [
            Entrant(p, type(e).__module__.rpartition(".")[2], vars(e)) for p, e in ((int8, seen.engine), (file, after))
        ]
        value, low, high = speedup(entrants, feed)
        passed.append(bar(what, f"{value:.3g} [{low:.3g}, {high:.3g}]", "interval above 1", low > 1))
    return passed


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--part", choices=("causes", "remedies"))
    args = ask.parse_args()
    passed: list[bool] = []
    with TemporaryDirectory() as scratch:
        if args.part != "remedies":
            passed += causes(Path(scratch))
        if args.part != "causes":
            passed += remedies(Path(scratch))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
