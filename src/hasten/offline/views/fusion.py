"""Boxes of several views or networks made into one set: weighted boxes fusion.

Solovyev, Wang and Gabruseva, "Weighted boxes fusion: Ensembling boxes from different object detection models", Image
and Vision Computing 107, 2021, https://arxiv.org/abs/1910.13302.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Boxes(NamedTuple):
    """Of one sample: sides f64 [K, 4] (left, top, right, bottom), scores f64 [K, classes]; the best is the label."""

    sides: np.ndarray
    scores: np.ndarray


def fused(found: Sequence[Boxes], iou: float) -> Boxes:
    """One set of boxes, best first.

    In the order of their scores, each box joins the cluster of its label whose box it overlaps most, by more than
    `iou`, or begins one. The box of a cluster is the mean of its members by their scores, its scores are their mean,
    lowered by how many of the sets have no member in it.

    Args:
        found: of each view or network, after suppression, 0..1.
    """
    sides = np.concatenate([f.sides for f in found])
    scores = np.concatenate([f.scores for f in found])
    if not len(sides):
        return Boxes(sides, scores)
    best, labels = scores.max(axis=1), scores.argmax(axis=1)
    clusters: list[list[int]] = []
    means = np.empty_like(sides)  # the box of each cluster so far
    of = np.empty(len(sides), np.int64)  # its label
    for i in np.argsort(-best, kind="stable"):
        n = len(clusters)
        overlaps = np.where(of[:n] == labels[i], overlap(means[:n], sides[i]), 0.0)
        k = int(overlaps.argmax()) if n else 0
        if not n or overlaps[k] <= iou:
            k = n
            clusters.append([])
            of[k] = labels[i]
        clusters[k].append(int(i))
        means[k] = np.average(sides[clusters[k]], axis=0, weights=np.maximum(best[clusters[k]], 1e-12))
    rows = np.stack([scores[c].mean(axis=0) * min(len(c), len(found)) / len(found) for c in clusters])
    order = np.argsort(-rows.max(axis=1), kind="stable")
    return Boxes(means[order], rows[order])


def overlap(boxes: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [K, 4] with one [4]; 0 where there is no union."""
    inner = np.clip(np.minimum(boxes[:, 2:], one[2:]) - np.maximum(boxes[:, :2], one[:2]), 0, None).prod(axis=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (one[2:] - one[:2]).prod() - inner
    return np.asarray(np.divide(inner, union, out=np.zeros(len(boxes)), where=union > 0))


def in_shares(boxes: Sequence[np.ndarray]) -> bool:
    """Whether boxes [..., 4] of several samples are shares of height and width: in pixels some would be larger."""
    return all(bool((np.abs(b) <= 2).all()) for b in boxes)
