"""A forest of at most a quarter of its nodes: what it loses, and how fast it is beside itself and scikit-learn.

    python benchmarks/trees.py

The forest of examples/trees, on its 500 test digits, paired digit by digit; answers of the unpruned ONNX file beside
scikit-learn's own on all of them. Times are of one process on one thread, in bursts that take turns: one sample a call,
and 256.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np

from bar import bar
from contest import race, ratio, upper_drop
from hasten.engine import Session
from hasten.engines.onnxruntime import OnnxRuntime
from hasten.estimator import TOLERANCE
from hasten.forest import OPERATORS, Forest
from hasten.graph.prune_trees import PruneTrees
from hasten.measure.lock import quiet
from hasten.model import OnnxModel
from made import example

STEPS = tuple(PruneTrees(0.25, method) for method in ("trees", "both", "leaves"))  # the first is held to the bars
SHARE, DROP = 0.25, 0.005
BATCHES = (1, 256)


class Caller:
    """One that is raced: a function of a batch."""

    def __init__(self, call: Callable[[np.ndarray], object], batch: np.ndarray) -> None:
        self._call, self._batch = call, batch

    def start(self) -> None:
        """Nothing to start: all run in this process."""

    def burst(self, calls: int) -> list[float]:
        times = []
        for _ in range(calls):
            began = time.perf_counter()
            self._call(self._batch)
            times.append((time.perf_counter() - began) * 1e3)
        return times


def nodes(model: OnnxModel) -> int:
    return sum(len(Forest.of(node).tree) for node in model.proto.graph.node if node.op_type in OPERATORS)


def timed(calls: Sequence[Callable[[np.ndarray], object]], pixels: np.ndarray, size: int) -> None:
    """Race scikit-learn, the whole file and the pruned ones with `size` samples a call, and print it."""
    batch = np.ascontiguousarray(np.resize(pixels, (size, pixels.shape[1])))
    with quiet():
        medians = race([Caller(call, batch) for call in calls])
    p50 = [float(np.median(medians[..., i])) for i in range(len(calls))]
    print(f"{size} a call: scikit-learn {p50[0]:.3f} ms, the whole file {p50[1]:.4f}", flush=True)
    for place, step in enumerate(STEPS, 2):
        over = [ratio(medians, place, i) for i in range(2)]
        shown = " and ".join(
            f"{o[0]:.2f} [{o[1]:.2f}, {o[2]:.2f}] times as fast as {name}"
            for o, name in zip(over, ("scikit-learn", "the whole file"), strict=True)
        )
        print(f"  {step}: {p50[place]:.4f} ms, {shown}", flush=True)


def _run(session: Session, pixels: np.ndarray) -> object:
    return session.compiled.run({"pixels": pixels})


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    task = example("trees/task.py")
    estimator, before = task.model(), task.original  # type: ignore[operator]
    assert isinstance(before, OnnxModel)
    files = [before, *(step(before, task) for step in STEPS)]
    data = task.split("test")
    pixels = data.inputs["pixels"]
    right, told, sessions = [], [], []
    with ExitStack() as stack:
        for file in files:
            sessions.append(stack.enter_context(OnnxRuntime(threads=1).compile(file)))
            told.append(next(iter(sessions[-1](data.inputs).values())))
            right.append((told[-1].argmax(1) == data.target).astype(float))
        apart = float(np.abs(told[0] - estimator.predict_proba(pixels)).max())
        wrong = int((estimator.classes_[told[0].argmax(1)] != estimator.predict(pixels)).sum())
        for place, (step, file) in enumerate(zip(STEPS, files[1:], strict=True), 1):
            lost, most = upper_drop(right[0], right[place], None)
            least = -upper_drop(right[place], right[0], None)[1]
            print(
                f"{step}: {nodes(before):,} nodes to {nodes(file):,}, {before.size_mb:.2f} MB to {file.size_mb:.2f}; "
                f"top-1 {right[0].mean():.4f} to {right[place].mean():.4f}, "
                f"drop {lost:+.4f} [{least:+.4f}, {most:+.4f}]",
                flush=True,
            )
        for size in BATCHES:
            timed([estimator.predict_proba, *(partial(_run, session) for session in sessions)], pixels, size)
    share, lost = nodes(files[1]) / nodes(before), float((right[0] - right[1]).mean())
    passed = [
        bar("largest difference from scikit-learn's probabilities", apart, f"at most {TOLERANCE}", apart <= TOLERANCE),
        bar("labels that differ from scikit-learn's", wrong, "0", wrong == 0),
        bar("share of the nodes that stays", share, f"at most {SHARE}", share <= SHARE),
        bar("drop on test", lost, f"at most {DROP}", lost <= DROP),
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
