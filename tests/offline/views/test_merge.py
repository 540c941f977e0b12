"""Ways in which several answers become one."""

from functools import partial

import numpy as np
from scipy import special

from hasten.offline.views.merge import Merge, merged

softmax = partial(special.softmax, axis=-1)


def test_ways_to_merge() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 9, 5)).astype(np.float32) * 3
    p = softmax(rows)
    close = {"rtol": 1e-5, "atol": 1e-6}
    assert np.allclose(merged(rows, Merge("mean", "outputs")), rows.mean(0), **close)
    assert np.allclose(merged(rows, Merge("max", "outputs")), rows.max(0), **close)
    assert np.allclose(softmax(merged(rows, Merge("mean", "softmax"))), p.mean(0), **close)
    product = np.exp(np.log(p).mean(0))
    assert np.allclose(
        softmax(merged(rows, Merge("geometric", "softmax"))), product / product.sum(-1, keepdims=True), **close
    )
    highest = p.max(0)
    assert np.allclose(
        softmax(merged(rows, Merge("max", "softmax"))), highest / highest.sum(-1, keepdims=True), **close
    )
    one_of = 1 / (1 + np.exp(-merged(rows, Merge("mean", "sigmoid")).astype(np.float64)))
    assert np.allclose(one_of, (1 / (1 + np.exp(-rows.astype(np.float64)))).mean(0), **close)
    assert np.allclose(merged(rows, Merge("geometric", "sigmoid")), rows.mean(0), **close)
    weighted = merged(rows, Merge("mean", "softmax"), weights=[1, 0, 0, 3])
    assert np.allclose(softmax(weighted), (p[0] + 3 * p[3]) / 4, **close)
    assert merged(rows, Merge("mean", "softmax")).dtype == np.float32


def test_votes_count_first_and_even_ones_go_by_the_mean() -> None:
    rows = np.log(np.array([[[0.5, 0.3, 0.2]], [[0.5, 0.3, 0.2]], [[0.0, 0.9, 0.1]]]) + 1e-9)
    assert merged(rows, Merge("vote", "softmax")).argmax() == 0
    assert merged(rows, Merge("mean", "softmax")).argmax() == 1
    assert merged(rows[1:], Merge("vote", "softmax")).argmax() == 1
    assert merged(rows, Merge("vote", "softmax"), axis=-1, weights=[1, 1, 3]).argmax() == 1


def test_what_is_not_known_does_not_count() -> None:
    rows, known = np.array([[1.0, 2.0], [9.0, 9.0]]), [None, np.array([True, False])]
    assert merged(rows, Merge("mean", "outputs"), known=known).tolist() == [5.0, 2.0]
    assert merged(rows, Merge("max", "outputs"), known=known).tolist() == [9.0, 2.0]
