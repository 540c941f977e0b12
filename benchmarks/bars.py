"""Every promise that has a bound, as a script that prints the figure beside it. Hours in all, on a quiet machine.

python benchmarks/bars.py [--list] [--only NAME]...
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from bar import line_of
from commands import ROOT

HERE = Path(__file__).parent
DEMO_S = 360.0  # after installation
TEST_S = 2040.0  # likewise: minutes for line 10, C++ 5, compression 6, the shelf 3, targets 4, live 4, offline 2
BARS = {
    "resize": ("an image is resized in half of Pillow's time, to the same bytes", [HERE / "resize.py"]),
    "cpp-throughput": ("C++ is as fast as benchmark_app, and prepares while it infers", [HERE / "cpp_throughput.py"]),
    "images": ("1,000 random images, the same in Python and in C++", [HERE / "parity_images.py"]),
    "sanitizers": ("no race, no wild memory, no bundle that brings C++ down", [HERE / "sanitizers.py"]),
    "aarch64": ("the same bytes on 64-bit ARM", [HERE / "aarch64.py"]),
    "startup": ("import and help start at once", [HERE / "startup.py"]),
    "training": ("the fashion net is trained to the end", [HERE / "fashion_training.py"]),
    "demo": ("make demo, within six minutes", ["make", "demo"]),
    "tests": ("make test, within 34 minutes", ["make", "test"]),
    "second-venv": ("the demo's bundle runs without torch", [HERE / "second_venv.py", ROOT / "out" / "digits"]),
    "kill-resume": ("ten kills, and nothing runs twice", [HERE / "kill_resume.py"]),
    "timing": ("a copy is as fast as itself, a slowed one is slower", [HERE / "honest_timing.py"]),
    "fashion": ("several times faster, nothing lost; the second door agrees", [HERE / "fashion_boost.py"]),
    "compared": ("the table of techniques, killed twice, within an hour", [HERE / "compared.py"]),
    "recipes": ("pruned, healed and in INT8: faster than INT8 alone", [HERE / "recipes.py"]),
    "agreement": ("EfficientNet-Lite0 in INT8 and pruned, over a video", [HERE / "agreement.py"]),
    "distillation": ("a student learns more with a teacher", [HERE / "distillation.py"]),
    "ensembles": ("three know more than the best of them, and a student keeps it", [HERE / "ensembles.py"]),
    "nas": ("a search finds what dominates the student made by hand", [HERE / "nas.py"]),
    "aware": ("training for INT8 brings back what INT8 loses", [HERE / "aware.py"]),
    "adapt": ("all of a net with SiLU and GroupNorm fits a DLA, and little is lost", [HERE / "adapt.py"]),
    "shelf": ("each technique alone: what it takes, gives and costs", [HERE / "shelf.py"]),
    "trees": ("a forest of a quarter of the nodes, nothing lost, against scikit-learn", [HERE / "trees.py"]),
    "claims": ("a verdict on what is said of these techniques, within four hours", [HERE / "claims.py"]),
    "early-exit": ("easy images leave early: sooner on the average, and the same in C++", [HERE / "early_exit.py"]),
    "roofline": ("layers add up to the call, and nothing exceeds the peak", [HERE / "roofline.py"]),
    "explain": ("explain names the true cause, and its first remedy helps", [HERE / "explain.py"]),
    "diff": ("diff finds the layer that was tampered with, within 1 GB", [HERE / "diff.py"]),
    "check": ("check says what each engine does, operator by operator", [HERE / "check.py"]),
    "placement": ("every layer in INT8, and faster than any library in its budget", [HERE / "placement.py"]),
    "tensorrt": ("INT8 for TensorRT keeps its answers, and builds in one command", [HERE / "tensorrt.py"]),
    "run": ("a job keeps up with the engine, and survives twenty kills", [HERE / "run_job.py"]),
    "views": ("several looks at an image are right more often than one", [HERE / "views.py"]),
    "load": ("valid under load in every scenario, and as accurate as at rest", [HERE / "load.py"]),
    "live": (
        "ten times real time on one core, flat memory, prompt answers, each frame encoded once",
        [HERE / "live.py"],
    ),
    "never-behind": ("not slower than any single library, on seven networks", [HERE / "never_behind.py"]),
}
LIMITS_S = {"demo": DEMO_S, "tests": TEST_S}


def measure(name: str) -> list[str]:
    """Run one; its lines with a figure."""
    command = [str(c) for c in BARS[name][1]]
    began = time.monotonic()
    process = subprocess.Popen(
        command if command[0] == "make" else [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    lines = []
    for line in process.stdout or ():
        print(line, end="", flush=True)
        lines += [line.strip()] if line.startswith("BAR ") else []
    code, took = process.wait(), time.monotonic() - began
    limit_s = LIMITS_S.get(name)
    passed = code == 0 and (limit_s is None or took <= limit_s)
    lines.append(
        line_of(name, f"exit code {code} after {took:.0f} s", f"0{f', {limit_s:.0f} s' if limit_s else ''}", passed)
    )
    print(lines[-1], flush=True)
    return lines


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--list", action="store_true", help="what there is")
    ask.add_argument("--only", action="append", choices=list(BARS), help="this one; may be repeated")
    args = ask.parse_args()
    if args.list:
        print("\n".join(f"{name:<14} {what}" for name, (what, _) in BARS.items()))
        return 0
    collected = {name: measure(name) for name in args.only or BARS}
    print("\n" + "\n".join(line for lines in collected.values() for line in lines))
    return 0 if all(line.startswith("BAR yes ") for lines in collected.values() for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
