"""Do layers add up to the call, and how much of this machine do they use, in f32, bf16 and INT8?

    python benchmarks/roofline.py [--network NAME]... [--threads N]... [--json FILE]

ResNet-50 and MobileNetV2, random weights. INT8 is placed for each engine.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bar import bar
from hasten import find
from hasten.data import Data
from hasten.engine import Engine
from hasten.graph.quantize import Quantize
from hasten.measure.lock import quiet
from hasten.measure.profiled import profiled
from hasten.measure.stand import Entrant, Stand
from hasten.model import OnnxModel
from hasten.task import Task
from shapes import SIDE, mobilenetv2, resnet50

NETWORKS = {"resnet50": (resnet50, 0.10), "mobilenetv2": (mobilenetv2, 0.20)}  # how far the sum may be from the call
ENGINES = ("onnxruntime", "openvino")
SAMPLES = 32


def versions(path: Path, data: Path) -> list[tuple[str, Path, Engine]]:
    """Precision, file, engine: each engine in every floating-point precision, and in INT8 that is made for it."""
    task, made = Task.of_files(path, "agreement", calibrate=data, validate=data), []
    assert isinstance(task.original, OnnxModel)
    for name in ENGINES:
        kind = find.engine(name)
        made += [(setting.precision, path, setting) for setting in kind.variants(False)]
        small = Quantize(method="placed", engine=name)(task.original, task)  # type: ignore[arg-type]
        file = small.save(path.with_name(f"{path.stem}-{name}.onnx")).path  # type: ignore[union-attr]
        made.append(("int8", file, kind()))
    return made


def told(precision: str, engine: Engine, found: dict[str, Any]) -> dict[str, Any]:
    """Sums: the whole's utilization is the floors' sum over the time of the layers that have one."""
    known = [layer for layer in found["layers"] if layer["utilization"] is not None]
    floors = sum(layer["utilization"] * layer["ms"] for layer in known)
    heavy = [layer for layer in known if layer["macs"]]
    return {
        "precision": precision,
        "engine": str(engine),
        "plain_ms": found["plain_ms"],
        "profiled_ms": found["profiled_ms"],
        "sum": found["sum_ms"] / found["profiled_ms"],
        "utilization": floors / sum(layer["ms"] for layer in known),
        "of_arithmetic": sum(layer["operations"] for layer in heavy)
        / found["peaks"]["operations"][precision]
        / (found["sum_ms"] / 1e3),
        "above": [f"{x['op']} {','.join(x['modules'])} {x['utilization']:.2f}" for x in known if x["utilization"] > 1],
        "uncounted": found["uncounted"],
    }


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--network", action="append", choices=list(NETWORKS))
    ask.add_argument("--threads", action="append", type=int, default=[])
    ask.add_argument("--json", type=Path, help="where the figures go")
    args = ask.parse_args()
    passed, rows = [], []
    with TemporaryDirectory() as scratch:
        feed = np.random.default_rng(0).normal(size=(SAMPLES, 3, SIDE, SIDE)).astype(np.float32)
        Data({"x": feed}).save(Path(scratch) / "feed")
        for name in args.network or NETWORKS:
            draw, bound = NETWORKS[name]
            path = draw().save(Path(scratch) / f"{name}.onnx").path
            assert path
            for precision, file, kind in versions(path, Path(scratch) / "feed"):
                for threads in args.threads or [1, 2]:
                    engine = replace(kind, threads=threads)
                    entrant = Entrant(file, type(kind).__module__.rpartition(".")[2], vars(engine))
                    with quiet(), Stand(entrant, Path(scratch) / "feed") as stand:
                        found = profiled(stand, OnnxModel.load(file), {})
                    if found["reason"]:
                        passed.append(bar(f"{name} in {precision} on {engine}", found["reason"], "a profile", False))
                        continue
                    row = told(precision, engine, found) | {"network": name}
                    rows.append(row)
                    what = f"{name} in {precision} on {row['engine']}"
                    print(
                        f"{what}: {row['plain_ms']:.2f} ms, with the account {row['profiled_ms']:.2f} ms; uses "
                        f"{row['utilization']:.0%} of the roofline, {row['of_arithmetic']:.0%} of the arithmetic"
                    )
                    print(f"  above 100 %: {row['above'] or 'none'}; not counted: {row['uncounted'] or 'nothing'}")
                    off = abs(row["sum"] - 1)
                    passed.append(bar(f"{what}: layers over the call", row["sum"], f"1 ± {bound}", off <= bound))
                    passed.append(bar(f"{what}: layers above 100 %", len(row["above"]), "0", not row["above"]))
    seen = {row["precision"] for row in rows}
    passed.append(bar("precisions with a utilization", ", ".join(sorted(seen)), "int8, f32, bf16 where it is",
                      {"f32", "int8"} <= seen))  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
