"""What tensors hold while calibration data runs, and the range of 8 bits that fits each best."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from hasten.model import Arrays

if TYPE_CHECKING:
    import onnx

Estimator = Literal["minmax", "percentile", "mse", "entropy"]
BINS, LEVELS = 2048, 255  # of a histogram; steps between the lowest and the highest of 8 bits
SHARE = 0.9999  # of the values that `percentile` keeps
NARROWEST = 0.2  # share of the whole range below which `mse` and `entropy` do not look


@dataclass(frozen=True)
class Seen:
    """The values of a tensor: extremes, zero included; a histogram between them; means over all but axis 1."""

    low: float
    high: float
    counts: np.ndarray
    means: np.ndarray | None

    @property
    def centres(self) -> np.ndarray:
        """Of the bins."""
        edges = np.linspace(self.low, self.high, BINS + 1)
        return (edges[1:] + edges[:-1]) / 2

    def range(self, estimator: Estimator) -> tuple[float, float]:
        """The lowest and the highest value that 8 bits should reach; zero is within."""
        if self.high <= self.low:
            return self.low, self.low + 1.0
        return ESTIMATORS[estimator](self)


def watch(proto: "onnx.ModelProto", names: Sequence[str], feeds: Sequence[Arrays]) -> dict[str, Seen]:
    """Run the graph twice over the data: for the extremes, then for the histograms.

    Args:
        proto: in floats.
        names: of tensors f32, inputs of the graph among them.
        feeds: one call's inputs each.
    """
    lows, highs = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    sums: dict[str, np.ndarray] = {}
    weights: dict[str, int] = {}
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    run = runner(proto, names)
    for feed in feeds:
        for name, values in run(feed):
            lows[name] = min(lows[name], float(values.min(initial=0.0)))
            highs[name] = max(highs[name], float(values.max(initial=0.0)))
            if values.ndim > 1:
                others = tuple(i for i in range(values.ndim) if i != 1)
                sums[name] = sums.get(name, 0.0) + values.sum(others, dtype=np.float64)
                weights[name] = weights.get(name, 0) + values.size // max(1, values.shape[1])
    for feed in feeds:
        for name, values in run(feed):
            if highs[name] > lows[name]:
                counts[name] += np.histogram(values, BINS, (lows[name], highs[name]))[0]
    means = {name: total / max(1, weights[name]) for name, total in sums.items()}
    return {name: Seen(lows[name], highs[name], counts[name], means.get(name)) for name in names}


def runner(proto: "onnx.ModelProto", names: Sequence[str]) -> Callable[[Arrays], Iterable[tuple[str, np.ndarray]]]:
    """What these tensors, inputs of the graph among them, hold in a call: feed -> name and values of each."""
    import onnx
    import onnxruntime

    wider = onnx.ModelProto()
    wider.CopyFrom(proto)
    graph = wider.graph
    known = {v.name for v in (*graph.input, *graph.output)}
    inputs = {v.name for v in graph.input}
    for name in names:
        if name not in known:
            graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(wider.SerializeToString(), options, providers=["CPUExecutionProvider"])
    asked = [name for name in names if name not in inputs]

    def run(feed: Arrays) -> Iterable[tuple[str, np.ndarray]]:
        made = dict(zip(asked, session.run(asked, dict(feed)), strict=True)) if asked else {}
        return [(name, made[name] if name in made else feed[name]) for name in names]

    return run


def _percentile(seen: Seen) -> tuple[float, float]:
    """All but one in ten thousand values."""
    total = np.cumsum(seen.counts) / max(1, seen.counts.sum())
    step = (seen.high - seen.low) / BINS
    lowest, highest = int(np.searchsorted(total, 1 - SHARE)), int(np.searchsorted(total, SHARE))
    return min(0.0, seen.low + step * lowest), max(0.0, seen.low + step * min(highest + 1, BINS))


def _least_squares(seen: Seen) -> tuple[float, float]:
    """The narrowing of the range at which the values change least when they are rounded."""

    def error(low: float, high: float) -> float:
        step = (high - low) / LEVELS
        rounded = np.clip(np.round((seen.centres - low) / step), 0, LEVELS) * step + low
        return float((seen.counts * np.square(rounded - seen.centres)).sum())

    return _best(seen, error)


def _entropy(seen: Seen) -> tuple[float, float]:
    """The narrowing at which the rounded values are distributed most like the values (Migacz 2017, 8-bit Inference).

    Zero is rounded to zero whatever the range; where most values are zero, it would outweigh all others.
    """
    counts = seen.counts.astype(np.float64)
    zero = int(np.clip(round(-seen.low / (seen.high - seen.low) * BINS), 0, BINS - 1))
    around = [i for i in (zero - 1, zero, zero + 1) if 0 <= i < BINS]
    counts[around] = np.minimum(counts[around], np.median(counts[counts > 0]))

    def divergence(low: float, high: float) -> float:
        inside = (seen.centres >= low) & (seen.centres <= high)
        was = np.where(inside, counts, 0.0)
        was[np.argmax(inside)] += counts[seen.centres < low].sum()
        was[len(inside) - 1 - np.argmax(inside[::-1])] += counts[seen.centres > high].sum()
        level = np.clip(np.round((seen.centres - low) / (high - low) * LEVELS), 0, LEVELS).astype(int)
        filled = inside & (counts > 0)
        total = np.bincount(level[filled], counts[filled], LEVELS + 1)
        wide = np.bincount(level[filled], minlength=LEVELS + 1)
        now = np.where(filled, (total / np.maximum(wide, 1))[level], 0.0)
        p, q = was / was.sum(), now / max(now.sum(), 1e-30)
        on = p > 0
        return float((p[on] * np.log(p[on] / np.maximum(q[on], 1e-12))).sum())

    return _best(seen, divergence)


def _best(seen: Seen, cost: Callable[[float, float], float]) -> tuple[float, float]:
    """The cheapest of evenly narrowed ranges."""
    tried = [(seen.low * share, seen.high * share) for share in np.linspace(1.0, NARROWEST, 41).tolist()]
    return min(tried, key=lambda ends: cost(*ends))


ESTIMATORS: dict[Estimator, Callable[[Seen], tuple[float, float]]] = {
    "minmax": lambda seen: (seen.low, seen.high),
    "percentile": _percentile,
    "mse": _least_squares,
    "entropy": _entropy,
}
