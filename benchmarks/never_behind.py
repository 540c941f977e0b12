"""Is hasten ever slower than a single library? Seven networks, one run, the libraries called directly.

    python benchmarks/never_behind.py [--network NAME]... [--json FILE]

For each network: `hasten boost model.onnx` with calibration data only; then every library by itself: FP32 and bf16
engines, NNCF and ONNX Runtime's quantizer on either engine, each with one and two threads. Who may lose more than the
budget (upper end of the 95 % paired-bootstrap interval on validate, the drop itself on test) is out. The winner's file
is then loaded straight into the library named in its bundle, and raced against every library that is near the fastest.
"""

import argparse
import json
import shutil
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from bar import bar
from commands import ROOT, boost
from contest import race, ratio, right, upper_drop
from entries import THREADS, Entry, entries, of_result, plain
from hasten.measure.lock import quiet  # the machine's: nobody else measures meanwhile
from networks import NAMES, Network, build

BOUND = 0.97
NEAR = 1.35  # a library within this of the fastest one takes part in the final


def look(network: Network, entry: Entry) -> None:
    """A first look at the speed."""
    try:
        with closing(entry.open(network)) as contender:
            entry.p50_ms = float(np.median(race([contender], launches=1)))
    except RuntimeError as fault:
        entry.out = str(fault)


class Judge:
    """Who holds the budget; the reference is FP32 on ONNX Runtime."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network, self.folder = network, folder
        exact = Entry("FP32", "onnxruntime", network.model, {"threads": max(THREADS)})
        self.target: dict[str, np.ndarray] = {}
        self.groups: dict[str, np.ndarray | None] = {}
        self.before: dict[str, np.ndarray] = {}
        for part in ("validate", "test"):
            with np.load(network.data(part), allow_pickle=False) as data:
                logits = self.answers(exact, part)
                self.target[part] = logits if network.metric == "agreement" else data["target"]
                self.groups[part] = data["groups"] if "groups" in data.files else None
            self.before[part] = right(logits, self.target[part])

    def answers(self, entry: Entry, part: str) -> np.ndarray:
        with closing(entry.open(self.network)) as contender:
            return contender.answers(self.network.data(part), self.folder / "answers.npy")

    def holds(self, entry: Entry) -> bool:
        """On validate the upper end of the interval is within the budget, on test the drop is; says why not."""
        for part in ("validate", "test"):
            rows = right(self.answers(entry, part), self.target[part])
            lost, upper = upper_drop(self.before[part], rows, self.groups[part])
            entry.drop |= {part: lost, f"{part}_upper": upper}
            most = upper if part == "validate" else lost
            if most > self.network.max_drop:
                entry.out = f"may lose {most:.4f} on {part}"
                return False
        return True


def chosen(looked: list[Entry], judge: Judge) -> list[Entry]:
    """For each library the fastest settings that hold the budget; where none do, the fastest, which is out."""
    kept = []
    for name in dict.fromkeys(e.name for e in looked):
        able = sorted((e for e in looked if e.name == name), key=speed)
        kept.append(next((e for e in able if not e.out and judge.holds(e)), able[0]))
    return kept


def speed(entry: Entry) -> float:
    return float("inf") if entry.p50_ms is None else entry.p50_ms


def final(network: Network, ours: Entry, libraries: list[Entry]) -> list[dict[str, Any]]:
    """hasten against every library in the final."""
    with ExitStack() as stack:
        runners = [stack.enter_context(closing(e.open(network))) for e in (ours, *libraries)]
        medians = race(runners)
    rows = []
    for i, one in enumerate(libraries, 1):
        value, low, high = ratio(medians, of=0, over=i)
        rows.append(
            {
                "library": one.name,
                "settings": one.settings,
                "p50_ms": float(np.median(medians[..., i])),
                "hasten_p50_ms": float(np.median(medians[..., 0])),
                "ratio": value,
                "ci95": [low, high],
            }
        )
    return rows


def compare(network: Network, output: Path) -> dict[str, Any]:
    """One network, start to end."""
    bundle = output / network.name
    for old in (bundle, bundle.with_name(f"{bundle.name}.trials")):
        shutil.rmtree(old, ignore_errors=True)
    parts = [x for part in ("calibrate", "validate", "test") for x in (f"--{part}", network.data(part))]
    result = boost(
        network.model,
        *parts,
        "--metric",
        network.metric,
        "--max-drop",
        str(network.max_drop),
        output=bundle,
        ends=(0, 1),
    )
    ours = of_result(result, bundle, network)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        looked = list(entries(network, Path(folder)))
        for one in (ours, *looked):
            if not one.out:
                look(network, one)
        judge = Judge(network, Path(folder))
        tried = chosen(looked, judge)
        judge.holds(ours)
        holding = [e for e in tried if not e.out]
        best = min(map(speed, holding))
        rows = final(network, ours, [e for e in holding if speed(e) <= NEAR * best])
    reached = min(r["ratio"] for r in rows) if not ours.out else 0.0
    return {
        "network": network.name,
        "metric": network.metric,
        "max_drop": network.max_drop,
        "ratio": reached,
        "bound": BOUND,
        "passed": reached >= BOUND,
        "verdict": result["verdict"],
        "hasten": plain(ours),
        "libraries": [plain(e) for e in tried],
        "final": rows,
    }


def show(report: dict[str, Any]) -> None:
    """The table of one network."""
    print(f"\n{report['network']}: {report['metric']}, at most {report['max_drop']} lost")
    for row in (report["hasten"], *sorted(report["libraries"], key=lambda r: r["p50_ms"] or 1e9)):
        said = " ".join(f"{k}={v}" for k, v in row["settings"].items())
        lost = f"{row['drop'].get('test', float('nan')):+.4f}"
        print(f"  {row['name']:<44} {row['p50_ms'] or float('nan'):8.3f} ms  drop {lost}  {said}  {row['out']}")
    for row in report["final"]:
        low, high = row["ci95"]
        print(
            f"  hasten {row['hasten_p50_ms']:.3f} ms, {row['library']} {row['p50_ms']:.3f} ms: "
            f"{row['ratio']:.3f} [{low:.3f}, {high:.3f}]"
        )
    bar(
        f"{report['network']}: hasten beside the fastest library",
        report["ratio"],
        f"at least {BOUND}",
        report["passed"],
    )


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--network", action="append", choices=NAMES)
    ask.add_argument("--json", type=Path, help="where the figures go")
    ask.add_argument("-o", "--output", type=Path, default=ROOT / "out" / "never_behind")
    args = ask.parse_args()
    reports = []
    for name in args.network or NAMES:
        reports.append(compare(build(name), args.output))
        show(reports[-1])
        if args.json:
            args.json.write_text(json.dumps(reports, indent=1) + "\n")
    return 0 if all(r["passed"] for r in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
