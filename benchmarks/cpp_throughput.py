"""Is the C++ runner as fast as OpenVINO's own benchmark_app, and does it prepare one frame while it infers another?

    python benchmarks/cpp_throughput.py [--rounds 5] [--seconds 4]

The same graph, hint, threads, streams and requests: the fashion net and EfficientNet-Lite0, f32, batch 1, prepared
already. Then frames of 1280x720 into a 224x224 network, one thread each for preparing and inferring. Both programs take
turns within a round; a figure is the median round.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

from bar import bar
from hasten import Bundle, Data, Pipeline, Prepare, cpp, find
from hasten.measure.lock import quiet
from hasten.measure.machine import threads
from hasten.measure.whole import end_to_end
from hasten.stage import Stage
from networks import Network, build

OVER_APP, OF_THE_SLOWER = 0.95, 0.9
WIDTH, HEIGHT, SIDE = 1280, 720, 224
REQUESTS = 2  # in flight


def of_one(network: Network, folder: Path) -> Path:
    """The network's file for single samples: a graph with free axes is another one for the engine."""
    model = onnx.load(network.model)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    path = folder / f"{network.name}.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def bundle(path: Path, engine_threads: int, pipeline: Pipeline, cases: Data) -> Path:
    stage = Stage.of(path, find.engine("openvino")(threads=engine_threads))
    made = path.with_name(f"{path.stem}-{engine_threads}.bundle")
    Bundle.write(
        made, stages=[stage], pipeline=pipeline, recipe="", measurements={}, conditions={}, cases=cases
    ).close()
    return made


def hasten_run(folder: Path, seconds: float) -> dict[str, float]:
    """The figures of hasten-run --bench; half of its time is for calls that overlap."""
    return dict(json.loads(cpp.call(folder, "--no-verify", "--bench", str(2 * seconds)).stdout))


def benchmark_app(model: Path, seconds: float, engine_threads: int) -> float:
    """Its samples a second."""
    words = [
        *(Path(sys.executable).with_name("benchmark_app"), "-m", model, "-d", "CPU", "-t", str(round(seconds))),
        *("-hint", "none", "-nstreams", "1", "-nthreads", str(engine_threads), "-nireq", str(REQUESTS)),
        *("-api", "async", "-infer_precision", "f32"),
    ]
    ended = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    found = re.search(r"Throughput:\s+([\d.]+) FPS", ended.stdout)
    if found is None:
        raise RuntimeError(f"benchmark_app: {(ended.stdout + ended.stderr).strip()[-300:]}")
    return float(found[1])


def beside_the_app(name: str, folder: Path, rounds: int, seconds: float) -> bool:
    network, count = build(name), threads()
    path = of_one(network, folder)
    with np.load(network.data("validate"), allow_pickle=False) as data:
        cases = Data({k: data[k][:64] for k in data.files if k not in ("target", "groups")})
    made = bundle(path, count, Pipeline(), cases)
    ratios, ours, theirs = [], [], []
    with quiet():
        for _ in range(rounds):
            theirs.append(benchmark_app(path, seconds, count))
            ours.append(hasten_run(made, seconds)["throughput_per_s"])
            ratios.append(ours[-1] / theirs[-1])
    middle = statistics.median(ratios)
    print(
        f"{name}, {count} threads: hasten-run {statistics.median(ours):.1f} samples a second, "
        f"benchmark_app {statistics.median(theirs):.1f}"
    )
    what = f"{name}: times the samples a second of benchmark_app [{min(ratios):.3f}, {max(ratios):.3f}]"
    return bar(what, middle, f"{OVER_APP}", middle >= OVER_APP)


def pipelined(folder: Path, rounds: int, seconds: float) -> bool:
    """Frames of 1280x720: the time of a frame is that of the slower of preparing and inferring."""
    network = build("efficientnet")
    path = of_one(network, folder)
    how = Prepare("image", size=(SIDE, SIDE), mean=(127.0,), std=(128.0,))
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (16, HEIGHT // 8, WIDTH // 8, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    made = bundle(path, 1, Pipeline({"image": how}), Data({"image": frames}))
    shares = []
    with quiet():
        for _ in range(rounds):
            figures = hasten_run(made, seconds)
            slower = max(figures["prepare_p50_ms"], figures["model_p50_ms"])
            shares.append(figures["pipelined_per_s"] * slower / 1e3)
            print(
                f"prepare {figures['prepare_p50_ms']:.2f} ms, model {figures['model_p50_ms']:.2f} ms, "
                f"{figures['pipelined_per_s']:.1f} frames a second"
            )
    middle = statistics.median(shares)
    rows = {row["runner"]: row for row in end_to_end(made)}
    low, high = rows["C++"]["over_python_range"]
    print(f"end to end, C++ over Python: {rows['C++']['over_python']:.3f} [{low:.3f}, {high:.3f}] of its time")
    what = f"{WIDTH}x{HEIGHT} pipelined, of 1 / max(prepare, infer) [{min(shares):.3f}, {max(shares):.3f}]"
    return bar(what, middle, f"{OF_THE_SLOWER}", middle >= OF_THE_SLOWER)


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--seconds", type=float, default=4.0, help="of each program in a round")
    args = ask.parse_args()
    cpp.program()
    with tempfile.TemporaryDirectory() as aside:
        passed = [beside_the_app(name, Path(aside), args.rounds, args.seconds) for name in ("fashion", "efficientnet")]
        passed.append(pipelined(Path(aside), args.rounds, args.seconds))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
