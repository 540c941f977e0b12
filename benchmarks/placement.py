"""Does INT8 that is placed for an engine run whole, and is it faster than what any single library makes?

    python benchmarks/placement.py [--network NAME]... [--json FILE]

On four networks: the share of convolutions and matrix products that the engine executes in INT8, read from the
executed graph of the file made for it; then never_behind's comparison, whose winner has to be at least level with the
best single library that holds the budget on all four, and 1.15 times as fast on two.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bar import bar
from commands import ROOT
from hasten import find
from hasten.graph.quantize import Quantize
from hasten.model import OnnxModel
from hasten.task import Task
from networks import Network, build
from never_behind import compare, show

NETWORKS = ("efficientnet", "mobile", "tones", "transformer")
FASTER, ON, BOUND = 1.15, 2, 0.97


def shares(network: Network) -> dict[str, float | None]:
    """By engine, the share of heavy layers in INT8 of the file that is made for it."""
    task = Task.of_files(
        network.model, "agreement", calibrate=network.data("calibrate"), validate=network.data("validate")
    )
    assert isinstance(task.original, OnnxModel)
    found = {}
    for name in ("onnxruntime", "openvino"):
        made = Quantize(method="placed", engine=name)(task.original, task)  # type: ignore[arg-type]
        with find.engine(name)(threads=1).compile(made) as session:
            found[name] = session.int8_share()
    return found


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--network", action="append", choices=NETWORKS)
    ask.add_argument("--json", type=Path, help="where the figures go")
    ask.add_argument("-o", "--output", type=Path, default=ROOT / "out" / "placement")
    args = ask.parse_args()
    passed, reports = [], []
    for name in args.network or NETWORKS:
        network = build(name)
        whole = shares(network)
        for engine, share in whole.items():
            passed.append(bar(f"{name}: share of its layers in INT8 on {engine}", share, "1.0", share == 1.0))
        report: dict[str, Any] = compare(network, args.output) | {"int8": whole}
        reports.append(report)
        show(report)
        passed.append(report["passed"])
        if args.json:
            args.json.write_text(json.dumps(reports, indent=1) + "\n")
    ahead = [r["network"] for r in reports if r["ratio"] >= FASTER]
    what = f"networks on which hasten is {FASTER} times as fast as the best library in the budget ({', '.join(ahead)})"
    passed.append(bar(what, len(ahead), f"at least {ON}", len(ahead) >= ON))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
