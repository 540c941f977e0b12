"""Does INT8 written for TensorRT keep its answers, and does one command make its engine file?

python benchmarks/tensorrt.py

The fashion net, quantized for TensorRT: what it has right of the 10,000 test images beside the default quantizer's,
paired image by image, both on ONNX Runtime; what lint finds in it; and the engine file that TensorRT-RTX builds of it,
here, without a GPU. The engine file is not run.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bar import bar
from commands import HASTEN, ROOT
from contest import upper_drop
from hasten.engines import _rtx
from hasten.graph.lint import lint
from made import example, made, right

MOST_LOST = 0.003
RECIPE = "quantize(method=placed, engine=tensorrt)"


def engine_file(folder: Path) -> tuple[list[str], int]:
    """What `hasten export` is told, and the bytes of what it writes; 0 where it fails."""
    path = folder / "fashion.engine"
    words = ["export", "examples/fashion/task.py", "-o", str(path), "--engine", "tensorrt_rtx", "--recipe", RECIPE]
    done = subprocess.run([*HASTEN, *words, "-q"], cwd=ROOT)
    return words, path.stat().st_size if done.returncode == 0 else 0


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    task = example("fashion/task.py")
    ours, default = made(task, RECIPE), made(task, "quantize")
    rows, beside = right(task, ours), right(task, default)
    lost, most = upper_drop(beside, rows, None)
    what = f"top-1 {rows.mean():.4f} in style tensorrt, {beside.mean():.4f} by the default quantizer: points lost"
    shown = f"{100 * lost:.2f}, at most {100 * most:.2f}"
    passed = [bar(what, shown, f"at most {100 * MOST_LOST:.1f}", most <= MOST_LOST)]
    found = lint(ours)
    passed.append(bar("rules that the file breaks", len(found), "0", not found))
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        words, size = engine_file(Path(folder))
        took = time.monotonic() - began
        line = f"bytes of the engine file of {_rtx.release()}, after {took:.0f} s of one command, {' '.join(words[:2])}"
        passed.append(bar(line, size, "above 0", size > 0))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
