"""What `hasten boost` makes of the fashion net, and whether the second door gives the same.

    python benchmarks/fashion_boost.py [--json out.json] [--second other.json]     results that are there are read

The first door is the task file. The second is the same network as an ONNX file with archives; its winner has to be the
same recipe on the same engine, or a tie when both bundles are raced by the library they name.
"""

import argparse
import json
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from bar import bar
from commands import ROOT, boost
from contest import race, ratio
from entries import of_result
from hasten.measure.lock import quiet
from networks import Network, build

OVER_TORCH, OVER_F32, OVER_F32_LOW, MAX_DROP, TIE = 5.0, 1.8, 1.6, 0.005, 0.05


def first_door(result: dict[str, Any]) -> list[bool]:
    """The figures of the task file's result."""
    winner, baselines = result["winner"] or {}, result["baselines"]
    torch = [b["engine"] for b in baselines if b["engine"].startswith("torch")]
    f32 = [b for b in baselines if b["precision"] == "f32" and b["engine"] not in torch]
    fastest = min(f32, key=lambda b: b["latency_p50_ms"])["engine"]
    eager = baselines[0]["engine"]  # the original in its better memory format, as the first race found
    over = {name: winner.get("speedups", {}).get(name, {"value": 0.0, "ci95": [0.0, 0.0]}) for name in (eager, fastest)}
    upper = (winner.get("accuracy_drop_ci95") or [0.0, 1.0])[1]
    half = [b for b in baselines if b["precision"] == "bf16"]
    value, low = over[fastest]["value"], over[fastest]["ci95"][0]
    return [
        bar(f"over {eager}", over[eager]["value"], f"at least {OVER_TORCH}", over[eager]["value"] >= OVER_TORCH),
        bar(f"over the fastest f32, {fastest}", value, f"at least {OVER_F32}", value >= OVER_F32),
        bar("its lower end", low, f"at least {OVER_F32_LOW}", low >= OVER_F32_LOW),
        bar("rows of bf16 among the baselines", len(half), "at least 1", len(half) >= 1),
        bar("test images behind the drop", winner.get("n_samples"), "10000", winner.get("n_samples") == 10_000),
        bar("upper end of the drop on test", upper, f"at most {MAX_DROP}", upper <= MAX_DROP),
    ]


def archives(network: Network, output: Path) -> dict[str, Any]:
    """The result of the second door."""
    parts = [x for part in ("calibrate", "validate", "test") for x in (f"--{part}", network.data(part))]
    return boost(network.model, *parts, "--metric", "top1", "--max-drop", str(MAX_DROP), output=output)


def same(network: Network, first: dict[str, Any], bundle: Path, second: dict[str, Any], output: Path) -> list[bool]:
    """Both winners raced directly."""
    pair = [of_result(first, bundle, network), of_result(second, output, network)]
    said = [f"{r['winner']['recipe']} on {r['winner']['engine']}" for r in (first, second)]
    with quiet(), ExitStack() as stack:
        medians = race([stack.enter_context(closing(e.open(network))) for e in pair])
    value, low, high = ratio(medians, of=1, over=0)
    tie = low <= 1 <= high or abs(value - 1) <= TIE
    print(f"first door: {said[0]}; second door: {said[1]}")
    figure = f"{value:.3f} [{low:.3f}, {high:.3f}] x as fast"
    return [bar("second door against the first", figure, f"1 within, or {TIE:.0%}", tie or said[0] == said[1])]


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--json", type=Path, help="a result of the first door, whose bundle is beside it")
    ask.add_argument("--second", type=Path, help="a result of the second door, whose bundle is beside it")
    args = ask.parse_args()
    bundle = args.json.with_suffix("") if args.json else ROOT / "out" / "fashion"
    task = ROOT / "examples" / "fashion" / "task.py"
    result = json.loads(args.json.read_text()) if args.json else boost(task, "--max-drop", str(MAX_DROP), output=bundle)
    passed = first_door(result)
    network = build("fashion")
    output = args.second.with_suffix("") if args.second else bundle.with_name(f"{bundle.name}-onnx")
    second = json.loads(args.second.read_text()) if args.second else archives(network, output)
    passed += same(network, result, bundle, second, output)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
