"""Does a search find a network that dominates the student that somebody thought of?

    python benchmarks/nas.py [--epochs N]

The fashion task's space is searched for a network that is so many times as fast as the original on one thread of ONNX
Runtime, and the hand-made student is distilled for as many epochs as the survivor learnt in all, on all of the data.
Then the two race each other; accuracy is that of 10,000 test images, paired.
"""

import argparse
import math
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bar import bar
from contest import upper_drop
from hasten.data import Data
from hasten.measure.flops import count
from hasten.measure.latency import race
from hasten.measure.lock import quiet
from hasten.measure.stand import Entrant, Stand
from hasten.model import OnnxModel
from made import example, made, right

ENGINE, THREADS, FASTER = "onnxruntime", 1, 12.9  # the student is about 11.5 times as fast as the original
CANDIDATES, SAMPLES, SEARCH_MINUTES, MINUTES = 10, 12_800, 22, 40.0


def timed(models: list[OnnxModel], feed: Data) -> tuple[float, float, float]:
    """How many times as fast as the second the first is, with its interval."""
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch) / "feed"
        feed.save(folder)
        paths = [Path(scratch) / f"{i}.onnx" for i in range(len(models))]
        for model, path in zip(models, paths, strict=True):
            model.save(path)
        stack.enter_context(quiet())
        entrants = [Entrant(p, ENGINE, {"threads": THREADS}) for p in paths]
        found = race([stack.enter_context(Stand(e, folder)) for e in entrants])
        print(*(f"{e.label}: {found.latency(i).p50_ms:.3f} ms" for i, e in enumerate(entrants)), sep="\n", flush=True)
        over = found.speedup(0, over=1)
    return over.value, over.low, over.high


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--epochs", type=int, default=10)
    args = ask.parse_args()
    began, task = time.monotonic(), example("fashion/task.py")
    found = made(
        task,
        f"nas({FASTER}, candidates={CANDIDATES}, minutes={SEARCH_MINUTES}, samples={SAMPLES}, epochs={args.epochs}, "
        f"engine={ENGINE}, threads={THREADS})",
    )
    minutes = (time.monotonic() - began) / 60
    searched = (2 ** math.ceil(math.log2(CANDIDATES)) - 1) * SAMPLES / len(task.raw("train").inputs["image"])
    student = made(task, f"distil(student=small, epochs={args.epochs + math.ceil(searched)})")
    both = [right(task, model) for model in (found, student)]
    lost, most = upper_drop(both[1], both[0], None)
    faster, low, high = timed([found, student], Data(task.split("validate").take(slice(0, 256)).inputs))
    for name, model, rows in (("found", found, both[0]), ("hand-made", student, both[1])):
        print(f"{name}: {(count(model).macs or 0) / 1e6:.1f} MMACs, {model.params} weights, {rows.mean():.4f} on test")
    print(f"found over hand-made: {faster:.2f} [{low:.2f}, {high:.2f}] times as fast, gain {-lost:+.4f}, {-most:+.4f}")
    passed = [
        bar("times as fast as the hand-made student", faster, "above 1", faster > 1),
        bar("gain on test over the hand-made student", -lost, "at least 0", lost <= 0),
        bar("one of the two beyond its interval", f"{low:.3f} times, {-most:+.4f}", "above 1, or above 0",
            low > 1 or most < 0),
        bar("minutes of search and last training", minutes, f"at most {MINUTES:g}", minutes <= MINUTES),
    ]  # fmt: skip
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
