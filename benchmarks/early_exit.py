"""How much sooner the fashion net answers with an exit, and that both runners take the same way.

    python benchmarks/early_exit.py [--only make|answers|race]

The head is trained on 24,000 images, once. The net with an exit races the net without on the same engine, at f32 on one
thread, one image a call; times are means over images of the validation set. On two threads of two cores less is won,
since each stage wakes them anew. Drops are of the 10,000 test
images, answered by a bundle's stages on OpenVINO, as C++ has it, and paired with the net as it was trained.
"""

import argparse
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bar import bar
from commands import ROOT
from contest import upper_drop
from hasten import Answer, cpp, find
from hasten.bundle import Bundle
from hasten.data import Data
from hasten.exits import macs, stages
from hasten.export import export
from hasten.measure.latency import race
from hasten.measure.lock import quiet
from hasten.measure.stand import Entrant, Stand
from hasten.model import OnnxModel
from hasten.task import Task
from made import example, made, right

RECIPE = "early_exit(stages.3, max_drop=0.004, epochs=4, batch=64)"
TRAIN, LAUNCHES = 24_000, 6  # of 6 launches the first and the last hold the median with 97 %
FASTER, DROP = 1.4, 0.005


def timed(paths: list[Path], feed: Path) -> bool:
    """With the exit against without, on each engine at f32 and one thread."""
    kinds = {n: k for n, k in find.engines().items() if k.takes == "onnx" and not k.missing()}
    plain = [(n, e) for n, kind in kinds.items() for e in kind.variants(False) if e.precision == "f32"]
    entrants = [Entrant(path, n, vars(e) | {"threads": 1}) for n, e in plain if not e.fallback for path in paths]
    with quiet(), ExitStack() as stack:
        stands = [stack.enter_context(Stand(e, feed)) for e in entrants]
        times = race(stands, launches=LAUNCHES)
        ways = [stand.ways() for stand in stands]
    best = 0.0
    for place in range(1, len(entrants), 2):
        over = times.speedup(place, over=place - 1)
        took = [times.latency(i).typical_ms for i in (place - 1, place)]
        print(
            f"{entrants[place].label}: {took[0]:.3f} ms, with the exit {took[1]:.3f} ms on the average and "
            f"{ways[place]['latency_worst_ms']:.3f} ms at worst; {ways[place]['early_share']:.0%} leave early; "
            f"{over.value:.2f} [{over.low:.2f}, {over.high:.2f}] times as fast",
            flush=True,
        )
        best = max(best, over.value)
    return bar("exit: times as fast on the average, on one thread", best, f"at least {FASTER}", best >= FASTER)


def answered(model: OnnxModel, original: OnnxModel, task: Task, scratch: Path) -> bool:
    """What is lost on the test images, and whether both runners decide the same on each of them."""
    pipeline = replace(task.pipeline, answer=Answer("classes", labels=task.pipeline.answer.labels))
    engine = find.engine("openvino")(threads=1)
    raw, target = task.raw("test").inputs, task.split("test").target
    ((_, images),) = raw.items()
    np.save(scratch / "raw.npy", images)
    with Bundle.write(
        scratch / "bundle", stages=stages(model, engine, scratch), pipeline=pipeline, recipe=RECIPE, measurements={},
        conditions={}, cases=task.raw("validate"),
    ) as bundle:  # fmt: skip
        found = bundle.answer(raw)
        leave = float((bundle.flow.further(bundle.pipeline.prepared(raw))[0] == 0).mean())
    native = [line["decision"] for line in cpp.answers(scratch / "bundle", str(scratch / "raw.npy"))]
    same = sum(a == b for a, b in zip(found, native, strict=True))
    lost, most = upper_drop(right(task, original), (np.ravel(found) == target).astype(float), None)
    print(f"drop on test {lost:+.4f}, at most {most:+.4f}; {leave:.1%} of the test images leave early", flush=True)
    passed = [
        bar("exit: drop on test", lost, f"at most {DROP}", lost <= DROP),
        bar("exit: test images decided the same in C++", same, f"{len(images)}", same == len(images)),
    ]
    return all(passed)


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--only", choices=("make", "answers", "race"), help="a part of it")
    only = ask.parse_args().only
    task = replace(example("fashion/task.py"), at_most={"train": TRAIN})
    model = made(task, RECIPE)
    original = export(task.original, task.sample()).model  # type: ignore[arg-type]
    print(
        f"{macs(original) / 1e6:.0f} M multiply-adds, {macs(model) / 1e6:.0f} M where all are needed: {model.said[0]}"
    )
    with TemporaryDirectory(dir=ROOT / "out") as folder:
        scratch, passed = Path(folder), True
        if only in (None, "answers"):
            passed = answered(model, original, task, scratch)
        if only in (None, "race"):
            paths = [m.save(scratch / f"{i}.onnx").path for i, m in enumerate((original, model))]
            Data(task.split("validate").inputs).save(scratch / "feed")
            passed &= timed([p for p in paths if p], scratch / "feed")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
