"""Under load: every scenario comes out valid in its ten-second preset, and what it says agrees with what is known.

    python benchmarks/load.py [--bundle DIR] [--rounds 5]

The bundle is the fashion net in INT8 on OpenVINO, unless another one, of the same task, is named. The accuracy of the
accuracy mode has to be the bundle's own, which was measured on a session and not under load. The C++ harness under
LoadGen has to agree with the C++ bench, both from prepared samples and in turn: their p90, the median of the rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bar import bar
from commands import HASTEN, ROOT
from hasten import Bundle, cpp, find
from hasten.measure._load_runner import Cpp
from hasten.measure._load_samples import gather
from hasten.measure._load_settings import QUICK, performance
from hasten.measure._loadgen_log import run_of
from hasten.measure.lock import quiet
from hasten.measure.machine import conditions, threads
from hasten.stage import Stage
from made import example, made, right

SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline", "LiveStream")
RECIPE = "quantize(method=placed, engine=openvino)"
TASK = ROOT / "examples" / "fashion" / "task.py"
APART, SECONDS = 0.15, 4.0  # how far the two p90 may be from each other; of each program in a round


def bundle_of_fashion(folder: Path) -> Path:
    """Made here: its accuracy is that of a session on the test images, in batches."""
    task = example("fashion/task.py")
    model = made(task, RECIPE)
    assert model.path
    rows = right(task, model, "openvino")
    measured = {"accuracy": float(rows.mean()), "split": "test", "n_samples": len(rows)}
    stage = Stage.of(model.path, find.engine("openvino")(threads=threads()))
    cases = task.raw("test").take(slice(0, 256))
    Bundle.write(
        folder,
        stages=[stage],
        pipeline=task.pipeline,
        recipe=RECIPE,
        measurements=measured,
        conditions=conditions(0),
        cases=replace(cases, target=None),
    ).close()
    return folder


def measured(bundle: Path, scenario: str, told: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the block `load` of a command as a user gives it."""
    words = ["measure", bundle, "--scenario", scenario, "--task", TASK, "--json", told, *more]
    ended = subprocess.run([*HASTEN, *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    print(ended.stdout, end="", flush=True)
    if not told.exists():
        raise RuntimeError(f"{scenario}: {ended.stderr.strip()[-500:]}")
    return ended.returncode, json.loads(told.read_text())["load"]


def valid(bundle: Path, scratch: Path, *more: str) -> list[bool]:
    """Every scenario, and the accuracy of those that have an accuracy mode."""
    passed = []
    for scenario in SCENARIOS if not more else SCENARIOS[:4]:
        code, load = measured(bundle, scenario, scratch / f"{scenario}{''.join(more)}.json", *more)
        name = f"{scenario}{' in C++' if more else ''}"
        said = "VALID" if all(run["valid"] for run in load["runs"]) else "INVALID"
        passed.append(bar(name, f"{said}, exit code {code}", "VALID, 0", said == "VALID" and code == 0))
        for run in load["runs"]:
            for check in run["checks"]:
                if scored := check["accuracy"]:
                    same = scored["under_load"] == scored["at_rest"] == scored["in_bundle"]
                    what = f"{name}: {scored['metric']} of {scored['samples']} samples, under load"
                    passed.append(bar(what, scored["under_load"], f"{scored['in_bundle']}, exactly", same))
    return passed


def harness(folder: Path, scratch: Path, rounds: int) -> bool:
    """hasten-load's p90 beside that of hasten-run --bench, in turn."""
    runner, cpp_load, bench = Cpp(folder), [], []
    cpp.program()
    with Bundle.load(folder, verify=False) as bundle:
        samples = gather(bundle, None, scratch / "harness")
    with quiet():
        probe = runner.probe(samples.folder, 1.0)
        settings = performance("SingleStream", replace(QUICK, seconds=SECONDS), probe, samples.count, 0)
        for i in range(rounds):
            out = scratch / "harness" / f"run-{i}"
            runner.test(samples.folder, settings, out)
            run = run_of(out, settings)
            cpp_load.append(run["percentiles"]["p90"])
            figures = json.loads(cpp.call(folder, "--no-verify", "--bench", str(2 * SECONDS)).stdout)
            bench.append(figures["model_p90_ms"] + figures["answer_p50_ms"])  # from prepared samples, as under load
            print(f"p90: hasten-load {cpp_load[-1]:.4f} ms, hasten-run --bench {bench[-1]:.4f} ms", flush=True)
    ratios = [a / b for a, b in zip(cpp_load, bench, strict=True)]  # of programs that ran one after the other
    ratio = statistics.median(ratios)
    what = f"p90 of the C++ harness under LoadGen, over that of the C++ bench [{min(ratios):.3f}, {max(ratios):.3f}]"
    return bar(what, ratio, f"{1 - APART} to {1 + APART}", abs(ratio - 1) <= APART)


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--bundle", type=Path, help="made of the fashion task by hasten boost, on OpenVINO")
    ask.add_argument("--rounds", type=int, default=5)
    args = ask.parse_args()
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        folder = args.bundle.absolute() if args.bundle else bundle_of_fashion(scratch / "fashion")
        passed = valid(folder, scratch)
        passed.append(harness(folder, scratch, args.rounds))
        passed += valid(folder, scratch, "--cpp")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
