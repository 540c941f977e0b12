"""A job of `hasten run`: does it keep up with the engine, does it survive kills, and is every sample there once?

    python benchmarks/run_job.py

The fashion net in INT8. 100,000 prepared arrays against the engine's own best throughput, taken in the same way before
and after; 30,000 PNG files against what the CPU time of decoding, preparing and answering allows on these cores; by how
much the memory of all processes grows; then 20 kills at random moments, with one sample in a thousand corrupt.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bar import bar
from commands import HASTEN, ROOT
from hasten import Bundle, Data, find, image
from hasten.measure.lock import quiet
from hasten.measure.machine import threads as cores
from hasten.offline.job import SWEPT
from hasten.offline.sweep import sweep
from hasten.stage import Stage
from made import example, made

ARRAYS, FILES, KILLS, CORRUPT = 100_000, 30_000, 20, 1_000
RATE, FILES_RATE, GROWTH_MB = 0.9, 0.85, 100.0
OUT = ROOT / "out" / "run_job"


def bundle() -> Path:
    """The fashion net in INT8, as a bundle."""
    folder = OUT / "bundle"
    if not folder.exists():
        task = example("fashion/task.py")
        file = made(task, "quantize(method=placed)").save(OUT / "model.onnx").path
        stage = Stage.of(file, find.engine("onnxruntime")(threads=cores()))  # type: ignore[arg-type]
        Bundle.write(
            folder, stages=[stage], pipeline=task.pipeline, recipe="quantize(method=placed)", measurements={},
            conditions={}, cases=Data(task.raw("validate").take(slice(0, 500)).inputs),
        ).close()  # fmt: skip
    return folder


def arrays(folder: Path, count: int) -> Path:
    """The test images again and again, prepared."""
    if not folder.exists():
        data = example("fashion/task.py").split("test")
        Data({n: np.resize(a, (count, *a.shape[1:])) for n, a in data.inputs.items()}).save(folder)
    return folder


def photos(folder: Path, count: int) -> Path:
    from PIL import Image

    if not (folder / f"{count - 1:06d}.png").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pixels = example("fashion/task.py").raw("test").inputs["image"]
        for i in range(count):
            Image.fromarray(pixels[i % len(pixels)]).save(folder / f"{i:06d}.png")
    return folder


def job(*words: object) -> tuple[dict[str, Any], list[float]]:
    """A new job; what it says, and the memory in MB of all its processes, looked at every half second."""
    out = OUT / "answers"
    shutil.rmtree(out, ignore_errors=True)
    process = subprocess.Popen([*HASTEN, "run", *map(str, words), "-o", str(out), "-q"], cwd=ROOT)
    seen: list[float] = []
    whole = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            seen.append(sum(p.memory_info().rss for p in (whole, *whole.children(recursive=True))) / 1e6)
        time.sleep(0.5)
    assert process.returncode == 0
    return json.loads((out / "job.json").read_text()), seen


def best(opened: dict[str, Any], folder: Path) -> float:
    """Samples a second of the engine alone, in the best way."""
    places = [(str(i), str(folder), i) for i in range(SWEPT)]
    return float(sweep(opened, places)["per_s"])


def throughput(folder: Path) -> list[bool]:
    prepared = arrays(OUT / "prepared", ARRAYS)
    opened = {"bundle": str(folder), "form": "jsonl", "prepared": True, "tensors": False}
    with quiet():
        before = best(opened, prepared)
    result, memory = job(folder, prepared, "--prepared")
    with quiet():
        after = best(opened, prepared)
    share = result["per_s"] / ((before + after) / 2)
    print(f"{result['per_s']:.0f} arrays a second by {result['plan']}; the engine alone {before:.0f} and {after:.0f}")
    steady = memory[len(memory) // 4 :]
    grown = max(steady[-len(steady) // 3 :]) - min(steady[: len(steady) // 3])
    return [
        bar(
            f"{ARRAYS} prepared arrays: share of the engine's best throughput", share, f"at least {RATE}", share >= RATE
        ),
        bar("the same: MB by which all processes grow in the job", grown, f"at most {GROWTH_MB}", grown <= GROWTH_MB),
    ]


def decoded(folder: Path) -> list[bool]:
    """CPU seconds of a file: decoded and prepared, and answered in batches of the job's size on one thread."""
    for path in photos(OUT / "photos", FILES).glob("*.png"):
        path.read_bytes()  # into memory: it is no disk that is measured
    result, _ = job(folder, OUT / "photos")
    batch = result["plan"]["batch"]
    with quiet(), Bundle.load(folder, verify=False) as whole:
        paths = sorted((OUT / "photos").glob("*.png"))[:2000]
        began = time.process_time()
        tensors = [whole.pipeline.prepare(image.read(p, "grey")) for p in paths]
        reading = (time.process_time() - began) / len(paths)
    with (
        quiet(),
        find.engine("onnxruntime")(threads=1).compile(
            made(example("fashion/task.py"), "quantize(method=placed)")
        ) as session,
    ):
        feed = {"image": np.stack(tensors[:batch])}
        session(feed)
        began = time.process_time()
        for _ in range(max(1, 4000 // batch)):
            session(feed)
        answering = (time.process_time() - began) / (max(1, 4000 // batch) * batch)
    allowed = cores() / (reading + answering)
    share = result["per_s"] / allowed
    print(
        f"{result['per_s']:.0f} files a second; {1e6 * reading:.0f} us to read one, {1e6 * answering:.0f} us to answer"
    )
    return [
        bar(
            f"{FILES} PNG files: share of what their CPU time allows",
            share,
            f"at least {FILES_RATE}",
            share >= FILES_RATE,
        )
    ]


def killed(folder: Path) -> list[bool]:
    """20 kills at random moments, one sample in a thousand not finite: the same as an undisturbed job."""
    source = OUT / "corrupt"
    if not source.exists():
        data = Data.load(arrays(OUT / "prepared", ARRAYS))
        pixels = data.inputs["image"][:40_000].copy()
        pixels[::CORRUPT, 0, 0, 0] = np.nan
        Data({"image": pixels}).save(source)
    words, rng, out, kills = (
        [*HASTEN, "run", str(folder), str(source), "--prepared", "-q", "-o"],
        random.Random(7),
        OUT / "killed",
        0,
    )
    shutil.rmtree(out, ignore_errors=True)
    while True:
        resumed = ["--resume"] if (out / "journal.sqlite").exists() else []
        process = subprocess.Popen([*words, str(out), *resumed], cwd=ROOT)
        try:
            process.wait(rng.uniform(1.0, 9.0) if kills < KILLS else 600)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        if kills < KILLS:  # it ended before its time: once more, from the start
            shutil.rmtree(out)
            continue
        break
    result = json.loads((out / "job.json").read_text())
    undisturbed = OUT / "undisturbed"
    shutil.rmtree(undisturbed, ignore_errors=True)
    ended = subprocess.run([*words, str(undisturbed)], cwd=ROOT)
    same = ended.returncode == 0 and all(
        [json.loads(line) for p in sorted(a.glob("part-*")) for line in p.read_text().splitlines()]
        == [json.loads(line) for p in sorted(b.glob("part-*")) for line in p.read_text().splitlines()]
        and (a / "errors.jsonl").read_text() == (b / "errors.jsonl").read_text()
        for a, b in [(out, undisturbed)]
    )
    whole = result["rows"] + result["errors"] == result["samples"] and result["errors"] == 40_000 // CORRUPT
    return [
        bar(f"{kills} kills: every id once, {result['errors']} with a reason", whole, "True", whole),
        bar("the same: content equal to that of an undisturbed job", same, "True", same),
    ]


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    folder = bundle()
    passed = [*throughput(folder), *decoded(folder), *killed(folder)]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    raise SystemExit(main())
