"""prune_trees: what goes, what stays, and what the leaves then say."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from forests import features, fitted, quadrants
from graphs import network
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from hasten.boost import settings_of
from hasten.data import Data
from hasten.engines.onnxruntime import OnnxRuntime
from hasten.errors import NotApplicable, UsageError
from hasten.forest import OPERATORS, Forest
from hasten.graph import _leaves, _order
from hasten.graph._ensemble import Lesson
from hasten.graph.prune_trees import PruneTrees
from hasten.model import OnnxModel
from hasten.search.workshop import Workshop
from hasten.task import Task


def forest(model: OnnxModel) -> Forest:
    return Forest.of(next(n for n in model.proto.graph.node if n.op_type in OPERATORS))


def score(model: OnnxModel, task: Task) -> float:
    data = task.split("test")
    with OnnxRuntime().compile(model) as session:
        return float(task.measure.total(task.measure.rows(session(data.inputs), data.target)))


def tree(leaves: tuple[float, float, float]) -> Forest:
    """x < 0: the first; else x < 1: the second, or the third."""
    own = np.arange(5)
    return Forest(
        tree=np.zeros(5, int), feature=np.array([0, -1, 0, -1, -1]), mode=np.ones(5, np.int8),
        threshold=np.array([0, 0, 1, 0, 0], np.float32), missing=np.zeros(5, bool), yes=np.array([1, 1, 3, 3, 4]),
        no=np.array([2, 1, 4, 3, 4]), value=np.array([0, leaves[0], 0, leaves[1], leaves[2]])[:, None],
        base=np.zeros(1), ids=own[:1],
    )  # fmt: skip


def test_the_weakest_branch_goes_first() -> None:
    x = np.array([[-1.0], [-1.0], [0.5], [0.5], [2.0], [2.0]], np.float32)
    wanted = np.array([[0.0], [0.0], [5.0], [5.0], [6.0], [6.0]])
    lesson = Lesson.of(tree((0.0, 5.0, 6.0)), x, wanted, "squares")
    made = _leaves.cut(lesson, 3)
    assert len(made.tree) == 3
    np.testing.assert_allclose(made.scores(x)[:, 0], [0, 0, 5.5, 5.5, 5.5, 5.5], atol=1e-2)
    assert len(_leaves.cut(lesson, 1).tree) == 1


def test_a_leaf_takes_the_value_that_loses_least() -> None:
    """Of a boosted tree: Newton's step for the logistic loss, which is not the mean of what was there."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1)).astype(np.float32)
    wanted = (rng.random((400, 1)) < 0.8).astype(float)
    lesson = Lesson.of(tree((0.5, 2.0, 1.0)), x, wanted, "logistic")
    assert not lesson.average
    (value,) = np.unique(_leaves.cut(lesson, 1).scores(x))
    held = lesson.scores.mean()
    others = [lesson.cost(np.full((400, 1), other)) for other in (held, value - 0.5, value + 0.5)]
    assert lesson.cost(np.full((400, 1), value)) < min(others)


def test_trees_that_go_are_made_up_for() -> None:
    task = quadrants(fitted)
    made = PruneTrees(0.5, "trees")(task.original, task)
    before, after = forest(task.original), forest(made)
    assert len(after.root) < len(before.root)
    assert len(after.tree) <= 0.5 * len(before.tree)
    np.testing.assert_allclose(after.scores(task.split("test").inputs["features"]).sum(1), 1, atol=1e-5)


def test_the_tree_that_helps_most_stays() -> None:
    """One of three trees tells the truth."""
    x = np.array([[-1.0], [0.5], [2.0]] * 4, np.float32)
    wanted = np.array([[0.0], [5.0], [6.0]] * 4)
    good, bad = tree((0.0, 5.0, 6.0)), tree((3.0, 4.0, 4.5))
    parts = [bad, good, bad]
    offset = np.repeat(np.arange(3) * 5, 5)
    columns = ("feature", "mode", "threshold", "missing")
    joined = Forest(
        **{c: np.concatenate([getattr(p, c) for p in parts]) for c in columns}, tree=np.repeat(np.arange(3), 5),
        yes=np.concatenate([p.yes for p in parts]) + offset, no=np.concatenate([p.no for p in parts]) + offset,
        value=np.concatenate([p.value for p in parts]) / 3, base=np.zeros(1), ids=np.arange(1),
    )  # fmt: skip
    lesson = Lesson.of(joined, x, wanted, "squares")
    assert lesson.average
    kept = _order.chosen(lesson, 5, "greedy").forest
    np.testing.assert_allclose(kept.scores(x), wanted)
    np.testing.assert_allclose(_order.chosen(lesson, 5, "first").forest.scores(x), parts[0].scores(x))


@pytest.mark.parametrize("method", ["leaves", "trees", "both"])
def test_a_forest_keeps_its_accuracy(method: str) -> None:
    task = quadrants(lambda: fitted(RandomForestClassifier(40, random_state=0)))
    step = PruneTrees(0.25, method)  # type: ignore[arg-type]
    made = step(task.original, task)
    assert len(forest(made).tree) <= 0.25 * len(forest(task.original).tree)
    assert made.size_mb < 0.4 * task.original.size_mb
    assert score(made, task) >= score(task.original, task) - 0.02


def test_boosting_is_pruned_in_view_of_the_other_trees() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    x = x.astype(np.float32)
    made = GradientBoostingClassifier(n_estimators=60, random_state=0).fit(x[:400], y[:400])
    train, test = Data({"features": x[:400]}, y[:400]), Data({"features": x[400:]}, y[400:])
    task = Task("boosted", lambda: made, "top1", train, test, test, train)
    small = PruneTrees(0.25, "leaves")(task.original, task)
    assert len(forest(small).tree) <= 0.25 * len(forest(task.original).tree)
    assert score(small, task) >= score(task.original, task) - 0.02
    with OnnxRuntime().compile(small) as session:
        p = session(test.inputs)["probabilities"]
    scores = forest(small).scores(test.inputs["features"])[:, 0]
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-scores)), atol=1e-5)


KINDS = {
    "histograms": lambda: HistGradientBoostingClassifier(max_iter=8, random_state=0),
    "boosted classes": lambda: GradientBoostingClassifier(n_estimators=8, random_state=0),
    "behind a scaler": lambda: make_pipeline(MinMaxScaler(), RandomForestClassifier(8, random_state=0)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_pruned(kind: str) -> None:
    task = quadrants(lambda: fitted(KINDS[kind]()))
    made = PruneTrees()(task.original, task)
    assert len(forest(made).tree) <= 0.5 * len(forest(task.original).tree)
    assert score(made, task) >= score(task.original, task) - 0.03


@pytest.mark.parametrize("kind", [RandomForestRegressor, GradientBoostingRegressor])
def test_numbers_are_pruned(kind: Any) -> None:
    made = fitted(kind(n_estimators=20, random_state=0))

    def numbers(seed: int) -> Data:
        data = features(300, seed)
        return Data(data.inputs, data.target.astype(np.float32)[:, None])

    task = quadrants(lambda: made, metric="mse", train=numbers(1), validate=numbers(3), test=numbers(4))
    small = PruneTrees(0.4)(task.original, task)
    assert len(forest(small).tree) <= 0.4 * len(forest(task.original).tree)
    assert score(small, task) <= 0.15 * np.var(numbers(4).target)


def test_without_labels_it_keeps_to_its_own_answers() -> None:
    made = fitted()
    plain = Data(features(300, 1).inputs)
    task = quadrants(lambda: made, train=None, calibrate=plain)
    small = PruneTrees(0.3)(task.original, task)
    assert score(small, task) >= score(task.original, task) - 0.03


def test_where_nothing_can_go_it_says_why() -> None:
    task = quadrants(fitted)
    with pytest.raises(NotApplicable, match="there is no ensemble of trees"):
        PruneTrees().apply(OnnxModel(network()), task)
    least = onnx.ModelProto()
    least.CopyFrom(task.original.proto)
    node = next(n for n in least.graph.node if n.op_type in OPERATORS)
    node.attribute.append(onnx.helper.make_attribute("aggregate_function", "MIN"))
    with pytest.raises(NotApplicable, match="joined by MIN"):
        PruneTrees().apply(OnnxModel(least), task)


def test_a_setting_that_does_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="no order"):
        PruneTrees(method="leaves", order="first")
    with pytest.raises(UsageError, match="between 0 and 1"):
        PruneTrees(1.0)


def test_validate_and_test_are_not_read() -> None:
    def unread() -> Data:
        raise AssertionError("read")

    made = fitted()
    calibrate = features(64, 2)
    task = quadrants(lambda: made, calibrate=calibrate)
    blind = quadrants(lambda: made, calibrate=calibrate, validate=None, test=unread)
    assert PruneTrees()(task.original, blind).digest() == PruneTrees()(task.original, task).digest()


TASK_FILE = """
import sys
sys.path.insert(0, {tests!r})
from forests import fitted, quadrants

task = quadrants(fitted)
"""


def test_a_search_makes_smaller_forests_in_its_child(tmp_path: Path) -> None:
    """From an estimator in a task file, as boost and compare do."""
    file = tmp_path / "task.py"
    file.write_text(TASK_FILE.format(tests=str(Path(__file__).parents[1])))
    task = Task.load(file)
    assert all(engine.takes == "onnx" for engine in settings_of(task, ()))
    with Workshop(task, tmp_path / "trials") as shop:
        shop.begin({}, resume=False)
        assert {"prune_trees", "prune_trees(keep=0.25)", "prune_trees(keep=0.125)"} <= set(shop.variants())
        assert shop.base.exists()
        assert shop.load("prune_trees").params < 0.6 * shop.load("as it is").params
