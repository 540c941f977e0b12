"""A scikit-learn estimator as an ONNX model: the same answers, ties included, and what is refused."""

from typing import Any

import numpy as np
import pytest
from forests import features, fitted, quadrants
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier

from hasten import estimator as module
from hasten.data import Data
from hasten.engines.onnxruntime import OnnxRuntime
from hasten.engines.openvino import OpenVino
from hasten.errors import InputError
from hasten.estimator import TOLERANCE, converted
from hasten.measure.flops import count
from hasten.model import OnnxModel, Tensor

DATA = features(100, 7)
KINDS = {
    "forest": lambda: RandomForestClassifier(12, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=5, random_state=0),
    "histograms": lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "one tree": lambda: DecisionTreeClassifier(random_state=0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_answers_as_scikit_learn(kind: str) -> None:
    made = fitted(KINDS[kind]())
    model = converted(made, DATA)
    assert model.signature.inputs == (Tensor("features", "float32", ("N", 16)),)
    assert model.signature.outputs == (Tensor("probabilities", "float32", ("N", 4)),)
    assert model.params > 0
    work = count(model)
    assert (work.macs, work.unknown) == (0, ())
    with OnnxRuntime().compile(model) as session:
        came = session(DATA.inputs)["probabilities"]
    right = made.predict_proba(DATA.inputs["features"])
    assert np.abs(came - right).max() <= TOLERANCE
    first, second = np.sort(right, 1)[:, :-3:-1].T
    clear = first - second > 2 * TOLERANCE
    assert clear.mean() > 0.8
    assert (made.classes_[came.argmax(1)] == made.predict(DATA.inputs["features"]))[clear].all()


def test_the_same_estimator_gives_the_same_file() -> None:
    assert converted(fitted(), DATA).digest() == converted(fitted(), DATA).digest()


def thirds() -> Any:
    """A tree whose thresholds are no f32: each lies between two, nearer to the upper one."""
    made = fitted(DecisionTreeClassifier(random_state=0))
    held = made.tree_.threshold
    upper = held.astype(np.float32)
    held[...] = upper.astype(np.float64) - np.spacing(upper).astype(np.float64) / 8
    return made


def test_a_feature_on_a_threshold_goes_the_same_way() -> None:
    made = thirds()
    split = made.tree_.feature >= 0
    upper = made.tree_.threshold[split].astype(np.float32)
    assert (upper > made.tree_.threshold[split]).all(), "rounding to the nearest goes the other way"
    x = np.resize(DATA.inputs["features"], (len(upper), 16)).copy()
    x[np.arange(len(x)), made.tree_.feature[split]] = upper
    with OnnxRuntime().compile(converted(made, Data({"features": x}))) as session:
        came = session({"features": x})["probabilities"]
    np.testing.assert_array_equal(came.argmax(1), made.predict(x))


def test_a_threshold_that_was_rounded_up_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def nearest(estimator: Any) -> Any:
        made = thirds()
        made.tree_.threshold[...] = made.tree_.threshold.astype(np.float32)
        return made

    monkeypatch.setattr(module, "_rounded", nearest)
    with pytest.raises(InputError, match="answers otherwise as ONNX"):
        converted(thirds(), DATA)


def test_a_regressor_gives_values_and_a_task_takes_it() -> None:
    made = fitted(RandomForestRegressor(5, random_state=0))
    target = DATA.target.astype(np.float32)[:, None]
    parts = {part: Data(DATA.inputs, target) for part in ("validate", "test", "calibrate", "train")}
    task = quadrants(lambda: made, metric="mse", **parts)
    assert isinstance(task.original, OnnxModel)
    assert task.original.signature.outputs == (Tensor("value", "float32", ("N", 1)),)
    with OnnxRuntime().compile(task.original) as session:
        came = session(DATA.inputs)["value"][:, 0]
    np.testing.assert_allclose(came, made.predict(DATA.inputs["features"]), rtol=1e-5)


class Guess(ClassifierMixin, BaseEstimator):
    """Nothing that skl2onnx knows."""

    classes_ = np.arange(4)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return np.full((len(x), 4), 0.25)


@pytest.mark.parametrize(
    ("data", "made", "words"),
    [
        (DATA, Guess(), "cannot be converted to ONNX"),
        (Data({"features": DATA.inputs["features"].astype(np.float64)}), None, "takes one input f32"),
        (Data({"a": DATA.inputs["features"], "b": DATA.inputs["features"]}), None, "takes one input f32"),
    ],
)
def test_what_cannot_be_converted_is_said(data: Data, made: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        converted(fitted() if made is None else made, data)


def test_openvino_says_that_it_has_no_trees() -> None:
    with pytest.raises(InputError, match=r"openvino refuses the model: .*TreeEnsembleClassifier"):
        OpenVino().compile(converted(fitted(), DATA))
