"""The mean of several networks' answers, and the weights with which it tells the labels best.

Probabilities are averaged, not logits: the mean of distributions is a distribution, it is the minimiser of the distance
to all members at once, and the log loss of such a mean is concave in the weights, so that they have one optimum, which
is found without a rate or a start to choose. The log loss and not the metric: accuracy is a step function of the
weights, whose best step on a few thousand samples is luck.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from hasten.answer import Answer, activated

Activation = Literal["none", "softmax", "sigmoid"]
SUM = 1e-3  # by which answers that sum to one may miss it
LEAST = 0.01  # a member of less weight is left out: it costs as much as any other
LOWEST = 1e-30  # of a probability, whose logarithm is taken in float32
NEAREST = 1e-7  # to 0 and 1, of a probability that is taken back through a sigmoid
_STEPS, _STILL = 2000, 1e-9


def activation_of(answer: Answer, choice: bool, outputs: Sequence[np.ndarray]) -> Activation:
    """From what the networks give to what is averaged.

    Args:
        answer: of the bundles; what it says holds.
        choice: whether the first output is one of a choice between classes. Where the answer takes its scores as they
            come and asks no more than their order, they are taken for logits, unless they are probabilities already.
        outputs: first outputs [N, ..., classes] of the members.
    """
    if answer.activation != "none" or not choice or answer.threshold is not None:
        return answer.activation
    return "none" if all(map(_is_distribution, outputs)) else "softmax"


def mixed(outputs: Sequence[np.ndarray], weights: Sequence[float], activation: Activation) -> np.ndarray:
    """The weighted mean in f64, as what the networks give: logits again, where these are activated."""
    pairs = zip(weights, outputs, strict=True)
    mean = np.sum([w * activated(o.astype(np.float64), activation) for w, o in pairs], axis=0)
    if activation == "softmax":
        return np.asarray(np.log(np.maximum(mean, LOWEST)))
    if activation == "sigmoid":
        mean = np.clip(mean, NEAREST, 1 - NEAREST)
        return np.asarray(np.log(mean) - np.log(1 - mean))
    return np.asarray(mean)


def fitted(outputs: Sequence[np.ndarray], target: np.ndarray, activation: Activation) -> np.ndarray | None:
    """Weights [K] that sum to one; None where nothing tells which answer is near the target.

    Of class numbers, or of marks 0 and 1 under a sigmoid: those of the highest likelihood, by expectation maximisation
    (Dempster et al. 1977), which here is the one optimum. Of values: those of the least square error.

    Args:
        outputs: first outputs [N, ..., C] of the K members.
        target: class numbers [N, ...], or values or marks of the outputs' shape, axes of length one aside.
    """
    scores = np.stack([activated(o.astype(np.float64), activation) for o in outputs])
    classes = scores.shape[-1] if scores.ndim > 2 else 1
    labels = target.dtype.kind in "iub" and classes > 1 and target.size * classes == scores[0].size
    if labels and (activation == "softmax" or all(map(_is_distribution, outputs))):
        rows = scores.reshape(len(scores), -1, scores.shape[-1])
        return _likeliest(rows[:, np.arange(target.size), target.reshape(-1).astype(int)])
    if labels and activation == "sigmoid":
        target = np.eye(classes)[target.reshape(-1).astype(int)].reshape(scores.shape[1:])
    if np.squeeze(target).shape == np.squeeze(scores[0]).shape:  # one output a sample is [N, 1] here, and [N] there
        target = target.reshape(scores.shape[1:])
    if target.shape != scores.shape[1:]:
        return None
    if activation == "sigmoid":
        return _likeliest(np.where(target > 0.5, scores, 1 - scores).reshape(len(scores), -1))
    return _least_square(scores.reshape(len(scores), -1), target.reshape(-1).astype(np.float64))


def without_the_least(weights: np.ndarray) -> np.ndarray:
    """The weights [K], those below LEAST 0, the others adding up to one."""
    kept = np.where(weights < min(LEAST, float(weights.max())), 0.0, weights)
    return np.asarray(kept / kept.sum())


def _likeliest(likelihood: np.ndarray) -> np.ndarray:
    """Weights [K] of members that give what came a likelihood of [K, n]."""
    likelihood = np.maximum(likelihood, LOWEST)
    weights = np.full(len(likelihood), 1 / len(likelihood))
    for _ in range(_STEPS):
        parts = weights[:, None] * likelihood
        after = (parts / parts.sum(0)).mean(1)
        if np.abs(after - weights).max() < _STILL:
            break
        weights = after
    return np.asarray(weights)


def _least_square(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weights [K] of values [K, n], by steps that multiply (Kivinen and Warmuth 1997, Information and Computation 132).

    What counts of the data is how the members' errors go together, [K, K].
    """
    apart = values - target
    together = apart @ apart.T / max(1, target.size)
    rate = 0.5 / max(float(np.abs(together).max()), 1e-300)
    weights = np.full(len(values), 1 / len(values))
    for _ in range(_STEPS):
        slope = together @ weights
        after = weights * np.exp(-rate * (slope - slope.min()))
        after /= after.sum()
        if np.abs(after - weights).max() < _STILL:
            break
        weights = after
    return np.asarray(weights)


def _is_distribution(output: np.ndarray) -> bool:
    return bool((output >= 0).all() and (np.abs(output.sum(-1, dtype=np.float64) - 1) < SUM).all())
