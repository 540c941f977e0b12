"""Is a model as fast as a copy of itself, and is a copy that really does 15 % more called slower?

    python benchmarks/honest_timing.py [--quick] [--network fashion | --model FILE.onnx] [--engine openvino]

Each repeat starts three fresh entrants, the model, its copy and its slower copy, and races them as `hasten boost` does.
The slower copy has more layers, whose number is found by measuring; no sleep is involved. The machine has to be
quiet: a neighbour that computes is in every figure. About seven minutes on two cores.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bar import bar
from hasten.data import Data
from hasten.measure.flops import count
from hasten.measure.latency import LAUNCHES, Race, race
from hasten.measure.lock import quiet
from hasten.measure.machine import threads
from hasten.measure.stand import Entrant, Stand
from hasten.model import OnnxModel
from networks import build

SLOWER, TOLERANCE = 0.15, 0.01  # how much slower the copy is made, and how near is near enough
HALF_WIDTH, SHARE = 0.06, 17 / 20
RACE_S = 20.0
WIDTH = 256  # of the layers that slow it down


def conv_net(channels: int = 32, layers: int = 6, side: int = 28) -> onnx.ModelProto:
    """A stack of 3x3 convolutions; `image` f32 [N, 1, side, side] -> `scores` f32 [N, 10]. About 0.5 ms."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], {}, "image"
    for i in range(layers):
        weights[f"w{i}"] = rng.normal(0, 0.06, (channels, channels if i else 1, 3, 3))
        nodes += [
            helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"]),
        ]
        last = f"r{i}"
    weights["head"] = rng.normal(0, 0.1, (channels, 10))
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "conv_net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("N", 1, side, side))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ("N", 10))],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def slowed(model: onnx.ModelProto, layers: int) -> onnx.ModelProto:
    """A copy with a chain of `layers` small fully connected layers beside it, whose end is an output of its own."""
    taken = OnnxModel(model).signature.inputs[0]
    part = min(64, math.prod(n for n in taken.shape[1:] if isinstance(n, int)))
    rng = np.random.default_rng(1)
    weights = {
        "slow.first": rng.normal(0, 0.1, (part, WIDTH)).astype(np.float32),
        "slow.next": rng.normal(0, 0.08, (WIDTH, WIDTH)).astype(np.float32),
        "slow.from": np.array([0], np.int64),
        "slow.to": np.array([part], np.int64),
        "slow.axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Flatten", [taken.name], ["slow.flat"]),
        helper.make_node("Slice", ["slow.flat", "slow.from", "slow.to", "slow.axis"], ["slow.part"]),
        helper.make_node("MatMul", ["slow.part", "slow.first"], ["slow.0"]),
    ]
    for i in range(layers):
        nodes += [
            helper.make_node("MatMul", [f"slow.{i}", "slow.next"], [f"slow.product{i}"]),
            helper.make_node("Relu", [f"slow.product{i}"], [f"slow.{i + 1}"]),
        ]
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(numpy_helper.from_array(w, name) for name, w in weights.items())
    made.graph.output.append(
        helper.make_tensor_value_info(f"slow.{layers}", TensorProto.FLOAT, (taken.shape[0], WIDTH))
    )
    return made


class Bench:
    """A folder with the files and their inputs, and an engine."""

    def __init__(self, folder: Path, model: onnx.ModelProto, engine: str, settings: dict[str, object]) -> None:
        self.folder, self.model, self.engine, self.settings = folder, model, engine, settings
        (taken,) = OnnxModel(model).signature.inputs
        shape = [n if isinstance(n, int) else 1 for n in taken.shape[1:]]
        rng = np.random.default_rng(2)
        self.feed = folder / "feed"
        Data({taken.name: rng.normal(size=(64, *shape)).astype(taken.dtype)}).save(self.feed)

    def file(self, name: str, model: onnx.ModelProto) -> Path:
        return OnnxModel(model).save(self.folder / name).path or self.folder

    def race(self, files: list[Path], seed: int, launches: int = LAUNCHES) -> Race:
        """Fresh entrants against each other."""
        with quiet(), ExitStack() as stack:
            entrants = (Entrant(f, self.engine, self.settings) for f in files)
            stands = [stack.enter_context(Stand(e, self.feed)) for e in entrants]
            return race(stands, launches=launches, seed=seed)

    def slower_copy(self, base: Path) -> Path:
        """The copy whose extra layers cost 15 %, as measured; the search starts from a first guess."""
        layers, seen = 16, {}
        for trial in range(6):
            path = self.file("slower.onnx", slowed(self.model, layers))
            found = self.race([base, path], seed=trial, launches=2 * LAUNCHES).speedup(0, over=1)
            seen[layers] = found.value - 1
            more = (count(OnnxModel.load(path)).macs / count(OnnxModel.load(base)).macs - 1) * 100
            print(f"{layers} more layers, {more:.1f} % more MACs: {100 * seen[layers]:+.1f} % time", flush=True)
            if abs(seen[layers] - SLOWER) <= TOLERANCE:
                return path
            layers = max(1, round(layers * SLOWER / max(seen[layers], SLOWER / 4)))
            if layers in seen:
                break
        nearest = min(seen, key=lambda n: abs(seen[n] - SLOWER))
        if abs(seen[nearest] - SLOWER) <= 2 * TOLERANCE:  # a race is no more exact than that
            return self.file("slower.onnx", slowed(self.model, nearest))
        raise SystemExit(f"no number of layers makes it {SLOWER:.0%} slower: {seen}; is the machine quiet?")


def repeat(bench: Bench, files: list[Path], times: int, launches: int) -> list[bool]:
    """The bars: of `times` races between the model, its copy and its slower copy."""
    same = slow = 0
    began = time.monotonic()
    for seed in range(times):
        result = bench.race(files, seed, launches)
        copy, slower = result.speedup(1, over=0), result.speedup(2, over=0)
        half = (copy.high - copy.low) / 2
        same += copy.low <= 1 <= copy.high and half <= HALF_WIDTH
        slow += slower.high < 1
        print(
            f"{seed + 1:>3}  {result.latency(0).p50_ms:.3f} ms  "
            f"copy {copy.value:.3f} [{copy.low:.3f}, {copy.high:.3f}] half-width {100 * half:.1f} %  "
            f"slower {slower.value:.3f} [{slower.low:.3f}, {slower.high:.3f}]",
            flush=True,
        )
    each, needed = (time.monotonic() - began) / times, math.ceil(SHARE * times - 1e-9)
    return [
        bar(f"of {times}: a copy is as fast, within {HALF_WIDTH:.0%}", same, f">= {needed}", same >= needed),
        bar(f"of {times}: a copy with 15 % more to do is slower", slow, f">= {needed}", slow >= needed),
        bar("seconds for a race of three", each, f"<= {RACE_S:g}", each <= RACE_S),
    ]


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = ask.add_mutually_exclusive_group()
    what.add_argument("--model", type=Path, help="an ONNX file with one input, instead of the small conv net")
    what.add_argument("--network", help="one of benchmarks/networks with one input: fashion, ...")
    ask.add_argument("--engine", default="onnxruntime", help="one that takes ONNX")
    ask.add_argument("--threads", type=int, default=threads())
    ask.add_argument("--launches", type=int, default=LAUNCHES, help="fresh processes in a race")
    ask.add_argument("--repeats", type=int, default=20)
    ask.add_argument("--quick", action="store_true", help="three repeats: to see it work")
    args = ask.parse_args()
    path = build(args.network).model if args.network else args.model
    model = OnnxModel.load(path).proto if path else conv_net()
    with tempfile.TemporaryDirectory() as aside:
        bench = Bench(Path(aside), model, args.engine, {"threads": args.threads})
        print(f"load {os.getloadavg()[0]:.2f}; {args.engine}, {args.threads} threads, {args.launches} launches")
        base, copy = bench.file("base.onnx", model), bench.file("copy.onnx", model)
        files = [base, copy, bench.slower_copy(base)]
        return 0 if all(repeat(bench, files, 3 if args.quick else args.repeats, args.launches)) else 1


if __name__ == "__main__":
    sys.exit(main())
