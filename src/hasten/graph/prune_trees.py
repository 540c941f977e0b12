"""prune_trees: ensembles of trees with fewer nodes, for forests and for boosting."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from hasten.errors import NotApplicable, UsageError
from hasten.forest import CLASSIFIER, NEWER, OPERATORS, Forest
from hasten.graph import _leaves, _order
from hasten.graph._ensemble import Lesson, Loss
from hasten.model import Model, OnnxModel
from hasten.technique import Technique

if TYPE_CHECKING:
    import onnx

    from hasten.data import Data
    from hasten.task import Task

_LOSSES: dict[str, Loss] = {"NONE": "squares", "LOGISTIC": "logistic", "SOFTMAX": "softmax"}  # by post_transform


@dataclass(frozen=True)
class PruneTrees(Technique):
    """Branches become leaves where they are worth least (cost-complexity: Breiman et al. 1984, Classification and
    Regression Trees, chapter 3), and trees leave the ensemble (ordered aggregation: Martinez-Munoz and Suarez 2006,
    Pruning in Ordered Bagging Ensembles), for TreeEnsembleClassifier and TreeEnsembleRegressor of ai.onnx.ml.

    It learns from `train`, or from `calibrate` where the task has no `train`; without labels from the ensemble's own
    answers. Each tree is pruned in view of what those before it have become, and a leaf takes the value that loses
    least (a Newton step on the loss that goes with post_transform); of a forest that tells numbers each tree for
    itself, since it would learn the noise of the labels otherwise. Trees that feed further nodes are kept as near to
    what they say as can be. Time falls where trees become fewer or shallower; for one sample a call, less than nodes.
    Not for a network without trees, nor for trees joined by MIN or MAX, or that branch on sets (TreeEnsemble).

    Settings:
        keep: share of the nodes that stay, at most.
        method: leaves cuts branches, trees takes out whole trees, both does the same share of either.
        order: which trees stay: greedy adds the one that helps those before it most; first those in front, as they were
            boosted. [trees, both]
        samples: at most so many are learnt from, at even distances.
    """

    keep: float = 0.5
    method: Literal["leaves", "trees", "both"] = "both"
    order: _order.Order = "greedy"
    samples: int = 4000

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range, or one that the method does not read.
        """
        if not 0 < self.keep < 1 or self.samples < 1:
            raise UsageError(f"{self} cannot prune", "keep is between 0 and 1, samples at least 1")
        if self.method == "leaves" and self.order != "greedy":
            raise UsageError(f"{self} takes out no trees, and has no order", "use method=trees or method=both")

    @classmethod
    def variants(cls, model: OnnxModel) -> tuple["PruneTrees", ...]:
        """Half, a quarter and an eighth of the nodes, where there are trees."""
        return tuple(cls(keep) for keep in (0.5, 0.25, 0.125)) if _trees(model) else ()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        """Half and a quarter; none where the model has no trees."""
        original = task.original
        return (cls(), cls(0.25)) if isinstance(original, OnnxModel) and _trees(original) else ()

    def apply(self, model: Model, task: "Task") -> OnnxModel:
        """
        Raises:
            NotApplicable: no trees, or none that can lose a node; says why, of each.
        """
        assert isinstance(model, OnnxModel)
        made = type(model.proto)()
        made.CopyFrom(model.proto)
        data = task.split("train" if task.train is not None else "calibrate").spread(self.samples)
        untouched = {}
        for place, node in enumerate(made.graph.node):
            if node.op_type in (*OPERATORS, NEWER):
                try:
                    node.CopyFrom(self._pruned(model, place, data))
                except NotApplicable as reason:
                    untouched[node.name or node.output[0]] = str(reason)
        if len(untouched) == sum(n.op_type in (*OPERATORS, NEWER) for n in made.graph.node):
            raise self.nothing(untouched, "there is no ensemble of trees")
        return OnnxModel(made)

    def _pruned(self, model: OnnxModel, place: int, data: "Data") -> "onnx.NodeProto":
        node = model.proto.graph.node[place]
        if node.op_type == NEWER or _joined(node) not in ("SUM", "AVERAGE"):
            raise NotApplicable(f"{node.op_type} joined by {_joined(node)} is not pruned here")
        forest = Forest.of(node)
        target = int(self.keep * len(forest.tree))
        if target < 1:
            raise NotApplicable(f"of {len(forest.tree)} nodes none can go")
        lesson = Lesson.of(forest, _features(model, node, data), *_wanted(model, node, forest, data))
        if self.method != "leaves":
            share = self.keep if self.method == "trees" else self.keep**0.5
            lesson = _order.chosen(lesson, int(share * len(forest.tree)), self.order)
        if self.method != "trees" and len(lesson.forest.tree) > target:
            made = _leaves.cut(lesson, target)
        else:
            made = lesson.forest
        if len(made.tree) >= len(forest.tree):
            raise NotApplicable(f"a leaf a tree is all that can be left of {len(forest.tree)} nodes")
        return made.written(node)


def _trees(model: OnnxModel) -> bool:
    return any(node.op_type in OPERATORS for node in model.proto.graph.node)


def _joined(node: "onnx.NodeProto") -> str:
    return next((a.s.decode() for a in node.attribute if a.name == "aggregate_function"), "SUM")


def _features(model: OnnxModel, node: "onnx.NodeProto", data: "Data") -> np.ndarray:
    """f32 [N, F]: what the trees read, computed where nodes stand in front of them."""
    name = node.input[0]
    if name in data.inputs:
        return np.asarray(data.inputs[name], np.float32)
    import onnx
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    front = type(model.proto)()
    front.CopyFrom(model.proto)
    needed, nodes = {name}, list[onnx.NodeProto]()
    for before in reversed(model.proto.graph.node):
        if needed & set(before.output):
            needed |= set(before.input)
            nodes.insert(0, before)
    del front.graph.node[:]
    front.graph.node.extend(nodes)
    del front.graph.output[:]
    front.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    feed = {t.name: data.inputs[t.name] for t in model.signature.inputs}
    (read,) = list(ReferenceEvaluator(front).run([name], feed))
    return np.asarray(read, np.float32)


def _wanted(
    model: OnnxModel, node: "onnx.NodeProto", forest: Forest, data: "Data"
) -> tuple[np.ndarray | None, Loss, bool]:
    """What the trees should say, f64 [N, K], the loss, and whether they are numbers; None where labels tell nothing."""
    held = {a.name: a for a in node.attribute}
    loss = _LOSSES.get(held["post_transform"].s.decode() if "post_transform" in held else "NONE")
    classifies = node.op_type == CLASSIFIER
    said, target = node.output[1 if classifies else 0], data.target
    if target is None or loss is None or said not in _given(model):
        return None, "squares", False
    if not classifies:
        fits = loss == "squares" and target.size == len(target) * len(forest.ids)
        return (target.reshape(len(target), -1).astype(np.float64) if fits else None), "squares", fits
    classes = sum(len(a.ints) + len(a.strings) for name, a in held.items() if name.startswith("classlabels"))
    if target.ndim != 1 or target.dtype.kind not in "iub" or target.max() >= classes:
        return None, "squares", False
    if len(forest.ids) == 1 and classes == 2:  # one number for the second class
        return target[:, None].astype(np.float64), loss, False
    return (target[:, None] == forest.ids).astype(np.float64), loss, False


def _given(model: OnnxModel) -> set[str]:
    """Values that reach an output of the graph as they are."""
    given = {value.name for value in model.proto.graph.output}
    for node in reversed(model.proto.graph.node):
        if node.op_type in ("Identity", "Cast", "Reshape", "Flatten", "Squeeze") and set(node.output) & given:
            given.add(node.input[0])
    return given
