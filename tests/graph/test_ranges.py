"""Statistics and ranges, against plain numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from hasten.graph._ranges import BINS, Seen, watch


def seen(values: np.ndarray) -> Seen:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return Seen(low, high, np.histogram(values, BINS, (low, high))[0], None)


def rounding(values: np.ndarray, low: float, high: float) -> float:
    """The mean square of what 8 bits from low to high make of the values."""
    step = (high - low) / 255
    return float(np.square(np.clip(np.round((values - low) / step), 0, 255) * step + low - values).mean())


def graph():
    """x [N, 3, 4] -> relu, doubled; nobody asks for the doubled one but the output."""
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["r", "r"], ["y"])]
    sides = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3, 4])] for n in ("x", "y"))
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(helper.make_graph(nodes, "g", *sides), opset_imports=opsets, ir_version=8)


def test_what_is_seen_is_what_was_there() -> None:
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.normal(size=(n, 3, 4)).astype(np.float32) + np.float32([[[1], [0], [-1]]])} for n in (5, 5, 2)]
    x = np.concatenate([f["x"] for f in feeds])
    found = watch(graph(), ["r", "x", "y"], feeds)
    for name, values in (("x", x), ("r", np.maximum(x, 0)), ("y", 2 * np.maximum(x, 0))):
        assert found[name].low == pytest.approx(min(0, values.min()))
        assert found[name].high == pytest.approx(values.max())
        assert found[name].counts.sum() == values.size
        np.testing.assert_array_equal(
            found[name].counts, np.histogram(values, BINS, (found[name].low, found[name].high))[0]
        )
        np.testing.assert_allclose(found[name].means, values.mean((0, 2)), rtol=1e-5)


def test_minmax_and_percentile() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(size=100_000), [50.0, -30.0]])
    assert seen(values).range("minmax") == (-30.0, 50.0)
    low, high = seen(values).range("percentile")
    assert low == pytest.approx(np.quantile(values, 0.0001), abs=0.1)
    assert high == pytest.approx(np.quantile(values, 0.9999), abs=0.1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["normal", "laplace", "relu", "uniform"]))
def test_mse_is_the_best_of_all_narrowings(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    values = {"normal": rng.normal, "laplace": rng.laplace, "uniform": rng.uniform}.get(kind, rng.normal)(size=20_000)
    values = np.maximum(values, 0) if kind == "relu" else values
    whole = seen(values)
    best = min(rounding(values, whole.low * s, whole.high * s) for s in np.linspace(1, 0.2, 41))
    assert rounding(values, *whole.range("mse")) <= best * 1.05  # bins are 1/2048 of the range wide


def test_entropy_cuts_off_a_long_tail_and_no_more() -> None:
    rng = np.random.default_rng(0)
    tail = np.concatenate([np.abs(rng.normal(size=200_000)), [40.0] * 5])
    assert seen(tail).range("entropy")[1] < 20
    low, high = seen(rng.uniform(0, 1, 200_000)).range("entropy")
    assert low == 0.0
    assert high > 0.9


@pytest.mark.parametrize("estimator", ["minmax", "percentile", "mse", "entropy"])
def test_every_range_holds_zero_and_has_a_length(estimator: str) -> None:
    rng = np.random.default_rng(1)
    for values in (rng.normal(5, 1, 1000), rng.normal(-5, 1, 1000), rng.normal(size=1000), np.zeros(10)):
        low, high = seen(values).range(estimator)
        assert low <= 0 <= high
        assert low < high
