"""A forest of at most a quarter of its nodes: what it loses, and how fast it is beside itself and scikit-learn.

    python benchmarks/trees.py

The forest of examples/trees, on its 500 test digits, paired digit by digit; answers of the unpruned ONNX file beside
scikit-learn's own on all of them. Times are of one process on one thread, in bursts that take turns: one sample a call,
and 256.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from bar import bar
from contest import race, ratio, upper_drop
from hasten.engines.onnxruntime import OnnxRuntime
from hasten.estimator import TOLERANCE
from hasten.forest import OPERATORS, Forest
from hasten.graph.prune_trees import PruneTrees
from hasten.measure.lock import quiet
from hasten.model import OnnxModel
from made import example

STEP = PruneTrees(0.25, "trees")
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


def main() -> int:
    task = example("trees/task.py")
    estimator, before = task.model(), task.original  # type: ignore[operator]
    assert isinstance(before, OnnxModel)
    after = STEP(before, task)
    assert isinstance(after, OnnxModel)
    data = task.split("test")
    pixels = data.inputs["pixels"]
    with OnnxRuntime(threads=1).compile(before) as whole, OnnxRuntime(threads=1).compile(after) as pruned:
        told = [next(iter(session(data.inputs).values())) for session in (whole, pruned)]
        apart = float(np.abs(told[0] - estimator.predict_proba(pixels)).max())
        wrong = int((estimator.classes_[told[0].argmax(1)] != estimator.predict(pixels)).sum())
        right = [(answer.argmax(1) == data.target).astype(float) for answer in told]
        lost, most = upper_drop(right[0], right[1], None)
        least = -upper_drop(right[1], right[0], None)[1]
        share = nodes(after) / nodes(before)
        print(
            f"{STEP}: {nodes(before):,} nodes to {nodes(after):,}, {before.size_mb:.2f} MB to {after.size_mb:.2f}; top-1 "
            f"{right[0].mean():.4f} to {right[1].mean():.4f}, drop {lost:+.4f} [{least:+.4f}, {most:+.4f}]",
            flush=True,
        )
        with quiet():
            for size in BATCHES:
                batch = np.ascontiguousarray(np.resize(pixels, (size, pixels.shape[1])))
                calls: list[Callable[[np.ndarray], object]] = [
                    estimator.predict_proba,
                    lambda x: whole.compiled.run({"pixels": x}),
                    lambda x: pruned.compiled.run({"pixels": x}),
                ]
                medians = race([Caller(call, batch) for call in calls])
                p50 = [float(np.median(medians[..., i])) for i in range(3)]
                over = [ratio(medians, 2, i) for i in range(2)]
                print(
                    f"{size} a call: scikit-learn {p50[0]:.3f} ms, ONNX {p50[1]:.4f}, pruned {p50[2]:.4f}; pruned is "
                    + " and ".join(
                        f"{o[0]:.2f} [{o[1]:.2f}, {o[2]:.2f}] times as fast as {name}"
                        for o, name in zip(over, ("scikit-learn", "the whole ONNX"), strict=True)
                    ),
                    flush=True,
                )
    passed = [
        bar("largest difference from scikit-learn's probabilities", apart, f"at most {TOLERANCE}", apart <= TOLERANCE),
        bar("labels that differ from scikit-learn's", wrong, "0", wrong == 0),
        bar("share of the nodes that stays", share, f"at most {SHARE}", share <= SHARE),
        bar("drop on test", lost, f"at most {DROP}", lost <= DROP),
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
