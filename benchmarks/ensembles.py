"""Do three networks know more than the best of them, does a second look, and does a student of the three keep it?

python benchmarks/ensembles.py [--epochs N] [--student-epochs N]

Members are networks of the fashion task's space, of 2.6 MMACs, that differ in their seed alone; which is best is told
on validate, all figures are of test, and gains are paired image by image. The student is the best member's twin, from
the same weights on the same images, that learns from the answers of the three beside the labels, and for longer: what
the same net learns in that time from the labels alone is told beside it.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bar import bar
from commands import ROOT
from contest import upper_drop
from hasten import find
from hasten.bundle import Bundle
from hasten.data import Data
from hasten.manifest import read
from hasten.measure.flops import count
from hasten.model import OnnxModel
from hasten.offline.ensemble.choose import ensemble
from hasten.offline.ensemble.mean import averaged
from hasten.offline.views import fold
from hasten.report.ensemble import tables
from hasten.stage import Stage
from hasten.task import Split, Task
from made import example, made, minutes, right

NET = {"width": 16, "depth": 1, "kernel": 3, "stride": 2}  # of the task's space
MEMBERS, SHIFT = 3, 2  # pixels
HOW = "teacher=0.5, temperature=2"  # of 0.3, 0.5 and 0.9 for twelve epochs, chosen on validate
LOOKS = ("hflip", "hflip,shift=1")  # sets of views; validate chooses
MMACS, MINUTES, KEPT = 31.0, 15.0, 0.5
OUT = ROOT / "out" / "ensembles"


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--epochs", type=int, default=6, help="of 200,000 images")
    ask.add_argument("--student-epochs", type=int, default=12, help="of the same")
    args = ask.parse_args()
    task = wider()
    models = [member(task, seed, args.epochs) for seed in range(MEMBERS)]
    folder = OUT / f"{args.epochs}-epochs"
    bundles = [bundled(task, model, folder / str(seed)) for seed, model in enumerate(models)]
    result = ensemble(bundles, task, folder / "three")
    for part in tables(result):
        print_wide(part)
    best = [str(b) for b in bundles].index(result["best"])
    alone = right(task, models[best])
    row = next(r for r in result["rows"] if r["name"] == result["shipped"])
    looks, twice = looked(task, bundles[best])
    pupil = student(task, bundles, best, args.student_epochs)
    learnt, low = gain(alone, right(task, pupil))
    untaught, over = right(task, member(task, best, args.student_epochs)), right(task, pupil)
    longest = max(map(minutes, models))
    macs = count(models[best]).macs or 0
    print(f"best alone {alone.mean():.4f}, ensemble {row['accuracy']:.4f}, {looks} {twice.mean():.4f}, ", end="")
    print(f"student {alone.mean() + learnt:.4f}: {learnt:+.4f}, at least {low:+.4f}", flush=True)
    print(
        f"the same net, {args.student_epochs} epochs on labels alone: {untaught.mean():.4f}; the teachers bring "
        "{:+.4f}, at least {:+.4f}".format(*gain(untaught, over)),
        flush=True,
    )
    passed = [
        bar("MMACs of a member", macs / 1e6, f"at most {MMACS:g}", macs <= MMACS * 1e6),
        bar("gain of the ensemble over the best member, lower end", row["gain_ci95"][0], "above 0",
            row["gain_ci95"][0] > 0),
        bar(f"gain of the views {looks} of the best member", gain(alone, twice)[0], "above 0",
            gain(alone, twice)[0] > 0),
        bar("share of the ensemble's gain that the student keeps", learnt / row["gain"], f"at least {KEPT:g}",
            learnt >= KEPT * row["gain"]),
        bar("MACs of the student over those of a member", (count(pupil).macs or 0) / macs, "1",
            count(pupil).macs == macs),
        bar("minutes to train a member, the longest", longest, f"at most {MINUTES:g}", longest <= MINUTES),
        bar("minutes to train the student", minutes(pupil), f"at most {MINUTES:g}", minutes(pupil) <= MINUTES),
    ]  # fmt: skip
    return 0 if all(passed) else 1


def wider() -> Task:
    """The fashion task whose images are seen as they are, mirrored, and each of these shifted: 200,000 to train on."""
    task = example("fashion/task.py")
    assert task.builder is not None
    net = partial(task.builder, **NET)
    return replace(task, name="fashion-wider", train=lambda: _seen(task.raw("train")), students={"quick": net})


def member(task: Task, seed: int, epochs: int) -> OnnxModel:
    """A network trained towards labels alone."""
    return made(task, f"distil(student=quick, epochs={epochs}, teacher=0, seed={seed})")


def student(task: Task, bundles: Sequence[Path], best: int, epochs: int, how: str = HOW) -> OnnxModel:
    """The best member's twin, from the same weights, that learns from the mean of all as well."""
    mean = averaged(bundles, bundles[0].with_name("mean"))
    told = f"{task.name}-{read(mean)['seal'][:8]}"  # what has been made is of this teacher
    three = replace(task, name=told, teachers={"three": mean})
    recipe = f"distil(student=quick, teachers=(three), original=False, epochs={epochs}, {how}, seed={best})"
    return made(three, recipe)


def bundled(task: Task, model: OnnxModel, folder: Path) -> Path:
    """The network as a bundle on ONNX Runtime; made anew, to the same seal where nothing has changed."""
    assert model.path is not None
    Bundle.write(
        folder,
        stages=[Stage.of(model.path, find.engine("onnxruntime")(threads=1))],
        pipeline=task.pipeline,
        recipe="\n".join(model.history),
        measurements={},
        conditions={},
        cases=task.raw("validate"),
    ).close()
    return folder


def looked(task: Task, folder: Path) -> tuple[str, np.ndarray]:
    """The set of views that is best on validate, and 1.0 for each test image that is told right through it."""

    def seen(part: Split, chosen: str) -> np.ndarray:
        data = task.split(part)
        answers = fold.answers(bundle, data.inputs, chosen, "mean:softmax", bundle.pipeline, batch=500)
        return (next(iter(answers.values())).argmax(1) == data.target).astype(float)

    with Bundle.load(folder) as bundle:
        best = max(LOOKS, key=lambda chosen: seen("validate", chosen).mean())
        return best, seen("test", best)


def gain(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Of the share that is right, and the lower end of its 95 % interval."""
    lost, most = upper_drop(before, after, None)
    return -lost, -most


def print_wide(part: object) -> None:
    from rich.console import Console

    Console(width=200).print(part)


def _seen(data: Data) -> Data:
    images, rng = data.inputs["image"], np.random.default_rng(0)
    assert data.target is not None
    plain = [images, images[:, :, ::-1]]
    every = np.concatenate([*plain, *(_shifted(view, rng) for view in plain)])
    return Data({"image": every}, np.concatenate([data.target] * 4))


def _shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image [N, H, W] by up to SHIFT pixels either way, with black at the edges."""
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[1:], axis=(1, 2))
    rows, columns = rng.integers(0, 2 * SHIFT + 1, (2, len(images)))
    return np.ascontiguousarray(windows[np.arange(len(images)), rows, columns])


if __name__ == "__main__":
    sys.exit(main())
