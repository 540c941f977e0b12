"""Every technique that makes a smaller network of the same one, alone and healed: what it takes, gives and costs.

    python benchmarks/shelf.py [--network NAME]... [--epochs N] [--json FILE]

Networks of the zoo. Drops are of the 10,000 test images, paired with the network as it was trained; speed is that of
FP32 files on one thread of each engine, raced against the original's; size is that of the compressed file. A setting
pays where at most a point is lost and something is gained.
"""

import argparse
import json
import sys
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bar import bar
from contest import upper_drop
from hasten import find
from hasten.data import Data
from hasten.errors import NotApplicable
from hasten.export import export
from hasten.measure.flops import count
from hasten.measure.latency import Race, race
from hasten.measure.lock import quiet
from hasten.measure.stand import Entrant, Stand
from hasten.model import OnnxModel
from hasten.task import Task
from made import example, made, right

NETWORKS = ("plain", "transformer")
ENGINES = ("onnxruntime", "openvino")
SETTINGS = (  # the mild one of each file first
    "prune(0.3, epochs={e})", "prune(0.5, epochs={e})",
    "factorize(0.3, epochs={e})", "factorize(0.55, epochs={e})", "factorize(0.55, method=svd, epochs={e})",
    "factorize(0.55, method=tucker, epochs={e})", "factorize(0.55, method=cp, epochs={e})",
    "separable(width=3, blocks=1, epochs={e})", "separable(cross, width=0.5, blocks=1, epochs={e})",
    "separable(bottleneck, width=0.5, blocks=1, epochs={e})", "separable(blocks=1, epochs={e})",
    "drop_layers(0.3, epochs={e})", "drop_layers(0.5, epochs={e})",
    "sparsify(0.5, epochs={e})", "sparsify(0.8, steps=2, epochs={e})", "sparsify(pattern=2:4, epochs={e})",
    "binarize(three, epochs={e})", "binarize(epochs={e})",
)  # fmt: skip
DROP, FEWER, SMALLER = 0.01, 2.0, 0.9
HALVED = ("factorize", "separable")  # on the plain network: MACs halved within the drop, at some setting


def rows(task: Task, epochs: int) -> list[dict[str, Any]]:
    original = export(task.original, task.sample()).model  # type: ignore[arg-type]
    before, macs, size = right(task, original), count(original).macs, zipped(original)
    found, files = [], [original]
    for setting in SETTINGS:
        recipe = setting.format(e=epochs)
        try:
            model = made(task, recipe)
        except NotApplicable as refusal:
            print(f"{task.name}: {recipe}: {str(refusal)[:200]}", flush=True)
            continue
        lost, most = upper_drop(before, right(task, model), None)
        files.append(model)
        found.append({
            "network": task.name, "recipe": recipe, "drop": lost, "at_most": most,
            "fewer": macs / max(1, count(model).macs), "size": zipped(model) / size,
        })  # fmt: skip
    for name in ENGINES:
        race_ = raced(task, [(model, name) for model in files])
        for place, row in enumerate(found):
            over = race_.speedup(place + 1, over=0)
            row[name] = [over.value, over.low, over.high]
    return found


def raced(task: Task, entered: Sequence[tuple[OnnxModel, str]]) -> Race:
    """Models against each other, each on the engine that goes with it, with one thread."""
    with TemporaryDirectory() as scratch, quiet(), ExitStack() as stack:
        Data(task.split("validate").take(slice(0, 256)).inputs).save(Path(scratch) / "feed")
        stands = []
        for i, (model, name) in enumerate(entered):
            path, settings = model.save(Path(scratch) / f"{i}.onnx").path, vars(find.engine(name)(threads=1))
            stands.append(stack.enter_context(Stand(Entrant(path, name, settings), Path(scratch) / "feed")))  # type: ignore[arg-type]
        return race(stands)


def zipped(model: OnnxModel) -> int:
    return len(zlib.compress(model.proto.SerializeToString(), 6))


def gains(row: dict[str, Any]) -> list[str]:
    faster = [f"faster on {name}" for name in ENGINES if row[name][1] > 1]
    return faster + (["smaller"] if row["size"] <= SMALLER else [])


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--network", action="append", choices=["plain", "residual", "mobile", "transformer", "tones"])
    ask.add_argument("--epochs", type=int, default=3)
    ask.add_argument("--json", type=Path, help="where the figures go")
    args = ask.parse_args()
    every = []
    for network in args.network or NETWORKS:
        for row in rows(example(f"zoo/{network}.py"), args.epochs):
            every.append(row)
            speeds = ", ".join("{} {:.2f} [{:.2f}, {:.2f}]".format(name, *row[name]) for name in ENGINES)
            gained = gains(row)
            verdict = "pays: " + ", ".join(gained) if gained and row["drop"] <= DROP else "does not pay"
            print(
                f"{row['network']}: {row['recipe']}: {verdict}; "
                f"drop {row['drop']:+.4f}, at most {row['at_most']:+.4f}; "
                f"{row['fewer']:.2f} times fewer MACs; {speeds}; {row['size']:.0%} of the size",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(every, indent=1) + "\n")
    passed = []
    for technique in HALVED if "plain" in (args.network or NETWORKS) else ():
        halved = [
            r for r in every if r["network"] == "plain" and r["recipe"].startswith(technique) and r["fewer"] >= FEWER
        ]
        best = min(halved, key=lambda r: r["drop"])
        what = f"{best['recipe']} on the plain network, {best['fewer']:.2f} times fewer MACs: drop"
        passed.append(bar(what, best["drop"], f"at most {DROP}", best["drop"] <= DROP))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
