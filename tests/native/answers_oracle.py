"""spec/answers.md once more, in plain Python and numpy: what the native code is held against."""

import math

import numpy as np


def scores(row: np.ndarray, activation: str) -> list[float]:
    """Values f64 [classes] -> scores."""
    if activation == "softmax":
        highest = max(row, default=0.0)
        powers = [math.exp(x - highest) if not math.isnan(x - highest) else math.nan for x in row]
        total = 0.0
        for power in powers:  # one after the other: sum() is more exact
            total += power
        return [power / total for power in powers]
    if activation == "sigmoid":
        return [0.5 * (1 + math.tanh(x / 2)) for x in row]
    return [float(x) for x in row]


def top_k(row: np.ndarray, k: int, threshold: float, activation: str) -> list[int]:
    """Values f64 [classes] -> the best classes, best first."""
    order = sorted(range(len(row)), key=lambda i: (math.isnan(row[i]), 0.0 if math.isnan(row[i]) else -row[i], i))
    found = scores(row, activation)
    return [i for i in order[:k] if found[i] >= threshold]


def area(box: np.ndarray) -> float:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Boxes f64 [4] -> intersection over union."""
    shared = np.array([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
    if shared[2] <= shared[0] or shared[3] <= shared[1]:
        return 0.0
    both = area(a) + area(b) - area(shared)
    return area(shared) / both if both > 0 else 0.0


def suppress(boxes: np.ndarray, found: np.ndarray, labels: np.ndarray, iou: float, threshold: float) -> list[int]:
    """Boxes f64 [N, 4], scores f64 [N], labels i32 [N] -> indices of those kept, best first."""
    left = sorted((i for i in range(len(boxes)) if found[i] >= threshold), key=lambda i: (-found[i], i))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if labels[i] != labels[best] or overlap(boxes[i], boxes[best]) <= iou]
    return kept
