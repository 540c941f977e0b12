"""How much sooner the fashion net answers with an exit, and that both runners take the same way.

    python benchmarks/early_exit.py [--make]

The heads are trained on 6,000 images, once (--make does only that). The net as it was trained and the one with an exit
race each other, each on its fastest engine at f32, one image a call; times are means over images of the validation set.
Drops are of the 10,000 test images, answered by the stages that were timed and paired with the net as it was trained.
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
from made import example, made

RECIPE = "early_exit(stages.3, max_drop=0.004, epochs=4, batch=32)"
TRAIN, LAUNCHES = 6_000, 9
FASTER, DROP = 1.4, 0.005


def entrants(model: Path) -> list[Entrant]:
    """On every engine here at f32, with one thread and with two."""
    kinds = {n: k for n, k in find.engines().items() if k.takes == "onnx" and not k.missing()}
    plain = [(name, e) for name, kind in kinds.items() for e in kind.variants(False) if e.precision == "f32"]
    return [Entrant(model, name, vars(e) | {"threads": n}) for name, e in plain if not e.fallback for n in (1, 2)]


def fastest(model: Path, feed: Path) -> Entrant:
    found = entrants(model)
    with ExitStack() as stack:
        look = race([stack.enter_context(Stand(e, feed)) for e in found], launches=1)
    return min(enumerate(found), key=lambda pair: look.latency(pair[0]).typical_ms)[1]


def raced(paths: list[Path], task: Task, scratch: Path) -> tuple[list[Entrant], list[np.ndarray], float]:
    """Both on their fastest engines; what each has right of the test images; the lower end of the gain in time."""
    for part in ("validate", "test"):
        Data(task.split(part).inputs).save(scratch / part)  # type: ignore[arg-type]
    with quiet():
        chosen = [fastest(path, scratch / "validate") for path in paths]
        with ExitStack() as stack:
            stands = [stack.enter_context(Stand(e, scratch / "validate")) for e in chosen]
            times = race(stands, launches=LAUNCHES)
            ways = stands[1].ways()
            answers = [s.answers(scratch / "test", scratch / f"out{i}") for i, s in enumerate(stands)]
            right = [(next(iter(a.values())).argmax(1) == task.split("test").target).astype(float) for a in answers]
    over = times.speedup(1, over=0)
    plain, early = (times.latency(i) for i in range(2))
    print(
        f"{chosen[0].label}: {plain.typical_ms:.3f} ms; {chosen[1].label}: {early.typical_ms:.3f} ms on the average, "
        f"{ways['latency_worst_ms']:.3f} ms at worst; {ways['early_share']:.0%} leave early; "
        f"{over.value:.2f} [{over.low:.2f}, {over.high:.2f}] times as fast",
        flush=True,
    )
    return chosen, right, over.low


def same_ways(model: OnnxModel, entrant: Entrant, task: Task, scratch: Path) -> int:
    """On how many of the test images the two runners decide the same."""
    engine = find.engine(entrant.engine)(**entrant.settings)
    pipeline = replace(task.pipeline, answer=Answer("classes", labels=task.pipeline.answer.labels))
    parts = {"stages": stages(model, engine, scratch), "pipeline": pipeline, "cases": task.raw("validate")}
    raw = task.raw("test").inputs
    name = next(iter(raw))
    np.save(scratch / "raw.npy", raw[name])
    with Bundle.write(scratch / "bundle", recipe=RECIPE, measurements={}, conditions={}, **parts) as bundle:
        found = bundle.answer(raw)
    native = [line["decision"] for line in cpp.answers(scratch / "bundle", str(scratch / "raw.npy"))]
    return sum(a == b for a, b in zip(found, native, strict=True))


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--make", action="store_true", help="train, and measure nothing")
    args = ask.parse_args()
    task = replace(example("fashion/task.py"), at_most={"train": TRAIN})
    model = made(task, RECIPE)
    cpp.program()
    if args.make:
        return 0
    original = export(task.original, task.sample()).model  # type: ignore[arg-type]
    with TemporaryDirectory(dir=ROOT / "out") as folder:
        scratch = Path(folder)
        paths = [m.save(scratch / f"{i}.onnx").path for i, m in enumerate((original, model))]
        chosen, right, low = raced([p for p in paths if p], task, scratch)
        lost, most = upper_drop(*right, None)
        same = same_ways(model, chosen[1], task, scratch)
    print(f"drop on test {lost:+.4f}, at most {most:+.4f}")
    print(f"{macs(original) / 1e6:.0f} M multiply-adds, {macs(model) / 1e6:.0f} M where all are needed")
    passed = [
        bar("exit: lower end of times as fast, on the average", low, f"at least {FASTER}", low >= FASTER),
        bar("exit: drop on test", lost, f"at most {DROP}", lost <= DROP),
        bar("exit: test images decided the same in C++ and in Python", same, f"{len(right[0])}", same == len(right[0])),
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
