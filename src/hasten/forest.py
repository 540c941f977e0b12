"""A tree ensemble of an ONNX graph as arrays: read from its node, walked through by samples, and written back.

Operators of ai.onnx.ml: TreeEnsembleClassifier and TreeEnsembleRegressor, which the converters of scikit-learn, XGBoost
and LightGBM write (https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleClassifier.html).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hasten.errors import InputError
from hasten.forest_node import Places, broken, held_by, numbers, values

if TYPE_CHECKING:
    import onnx

CLASSIFIER, REGRESSOR = "TreeEnsembleClassifier", "TreeEnsembleRegressor"
OPERATORS = (CLASSIFIER, REGRESSOR)
NEWER = "TreeEnsemble"  # of opset 5, which holds sets of members and branches that are shared
_LEAF = "LEAF"
_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
_COMPARE = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)
_WEIGHTS = {CLASSIFIER: "class", REGRESSOR: "target"}
_PIECE = 1 << 22  # samples times trees that are walked together


@dataclass(frozen=True, eq=False)
class Forest:
    """T trees of M nodes in all, each behind the node that leads to it, with K numbers in an answer.

    Attributes:
        tree: int [M], from 0 on, in rising order.
        feature: int [M], the column that a branch looks at; -1 in a leaf.
        mode: int8 [M], how a branch compares, an index of the six comparisons.
        threshold: f32 or f64 [M].
        missing: bool [M]: NaN takes the way of yes.
        yes, no: int [M], the next node; a leaf leads to itself.
        value: f64 [M, K], what a leaf adds to the answer; 0 in a branch.
        base: f64 [K], what the trees are added to.
        ids: int [K], which classes or targets the K numbers are.
    """

    tree: np.ndarray
    feature: np.ndarray
    mode: np.ndarray
    threshold: np.ndarray
    missing: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    value: np.ndarray
    base: np.ndarray
    ids: np.ndarray

    @property
    def leaf(self) -> np.ndarray:
        """bool [M]."""
        return np.asarray(self.feature < 0)

    @property
    def root(self) -> np.ndarray:
        """int [T]: the first node of each tree."""
        return np.flatnonzero(np.diff(self.tree, prepend=-1))

    def levels(self) -> Iterator[np.ndarray]:
        """Nodes of equal depth [m], roots first."""
        at = self.root
        while at.size:
            yield at
            at = at[~self.leaf[at]]
            at = np.concatenate([self.yes[at], self.no[at]])

    def leaves(self, features: np.ndarray) -> np.ndarray:
        """The leaf that each sample reaches in each tree.

        Args:
            features: f32 [N, F]; NaN is a missing value.

        Returns:
            int32 [N, T].
        """
        roots = self.root.astype(np.int32)
        size = max(1, _PIECE // len(roots))
        pieces = [self._walked(features[i : i + size], roots) for i in range(0, len(features), size)]
        return np.concatenate(pieces)

    def _walked(self, features: np.ndarray, roots: np.ndarray) -> np.ndarray:
        at = np.tile(roots, len(features))
        row, on = np.repeat(np.arange(len(features)), len(roots)), np.arange(at.size)
        while on.size:
            node = at[on]
            on, node = on[self.feature[node] >= 0], node[self.feature[node] >= 0]
            held, bound, mode = features[row[on], self.feature[node]], self.threshold[node], self.mode[node]
            taken = np.isnan(held) & self.missing[node]
            for kind in np.unique(mode):
                taken |= (mode == kind) & _COMPARE[kind](held, bound)
            at[on] = np.where(taken, self.yes[node], self.no[node])
        return at.reshape(len(features), len(roots))

    def scores(self, features: np.ndarray) -> np.ndarray:
        """The sum of all trees and the base, before any transform: f64 [N, K]."""
        made = np.tile(self.base, (len(features), 1))
        for column in self.leaves(features).T:
            made += self.value[column]
        return made

    def pruned(self, cut: np.ndarray, value: np.ndarray) -> Self:
        """With branches made leaves.

        Args:
            cut: bool [M], the nodes that become leaves; what is below them goes.
            value: f64 [M, K], what each leaf adds, those that were leaves before too.
        """
        leaf, own = self.leaf | cut, np.arange(len(cut))
        made = replace(
            self,
            feature=np.where(leaf, -1, self.feature),
            yes=np.where(leaf, own, self.yes),
            no=np.where(leaf, own, self.no),
            value=np.where(leaf[:, None], value, 0.0),
        )
        return made._only(self.ends(cut) == own)

    def ends(self, cut: np.ndarray) -> np.ndarray:
        """int [M]: the node where a sample that came through this one ends its way, if `cut` become leaves."""
        ends = np.arange(len(cut))
        for level in self.levels():
            at = level[~self.leaf[level]]
            over = cut[at] | (ends[at] != at)
            for way in (self.yes[at], self.no[at]):
                ends[way] = np.where(over, ends[at], way)
        return ends

    def chosen(self, trees: np.ndarray, factor: float = 1.0) -> Self:
        """Some trees, of which each then counts `factor` times.

        Args:
            trees: int [t], at least one.
        """
        made = replace(self, value=self.value * factor)
        return made._only(np.isin(self.tree, trees))

    def _only(self, kept: np.ndarray) -> Self:
        """The nodes of a mask that holds whatever its nodes lead to."""
        place = np.cumsum(kept) - 1
        columns = ("feature", "mode", "threshold", "missing", "value")
        return replace(
            self,
            **{name: getattr(self, name)[kept] for name in columns},
            tree=np.unique(self.tree[kept], return_inverse=True)[1],
            yes=place[self.yes[kept]],
            no=place[self.no[kept]],
        )

    @classmethod
    def of(cls, node: "onnx.NodeProto") -> Self:
        """Read a node; the mean of trees is read as a sum. MIN and MAX are neither: that is for the caller to see.

        Raises:
            InputError: it is not of `OPERATORS`, or its nodes are no trees.
        """
        held = held_by(node)
        if node.op_type not in OPERATORS:
            raise InputError(f"{node.op_type} is no ensemble of trees that is read here", f"there are: {OPERATORS}")
        tree, number = (np.array(held.get(f"nodes_{k}", ()), np.int64) for k in ("treeids", "nodeids"))
        modes = np.array(held.get("nodes_modes", ()), object)
        columns = [held.get(f"nodes_{k}", ()) for k in ("featureids", "truenodeids", "falsenodeids")]
        if not tree.size or {len(c) for c in (number, modes, *columns, numbers(held, "nodes_values"))} != {tree.size}:
            raise broken("has lists of nodes of different lengths")
        order = np.lexsort((np.arange(tree.size), tree))
        place = Places(tree[order], number[order])
        feature, yes, no = (np.array(c, np.int64)[order] for c in columns)
        modes = modes[order]
        leaf = modes == _LEAF
        if unknown := sorted(set(modes[~leaf]) - set(_MODES)):
            raise InputError(f"the trees of {node.op_type} branch by {unknown[0]}", f"there are: {', '.join(_MODES)}")
        if (feature[~leaf] < 0).any():
            raise broken("has a branch that looks at a negative column")
        own = np.arange(tree.size)
        yes, no = (np.where(leaf, own, place.of(place.tree, np.where(leaf, place.number, c))) for c in (yes, no))
        missing = held.get("nodes_missing_value_tracks_true") or np.zeros(tree.size, bool)
        value, ids = values(held, _WEIGHTS[node.op_type], place, leaf)
        base = numbers(held, "base_values").astype(np.float64)
        made = cls(
            tree=np.unique(place.tree, return_inverse=True)[1],
            feature=np.where(leaf, -1, feature),
            mode=np.array([_MODES.index(m) if m != _LEAF else 0 for m in modes], np.int8),
            threshold=numbers(held, "nodes_values")[order],
            missing=np.array(missing, bool)[order],
            yes=yes,
            no=no,
            value=value,
            base=base[ids] if ids.max(initial=0) < base.size else np.full(len(ids), base[0] if base.size else 0.0),
            ids=ids,
        )
        made = made._rooted()
        mean = held.get("aggregate_function") == "AVERAGE"
        return replace(made, value=made.value / len(made.root)) if mean else made

    def _rooted(self) -> Self:
        """With the root of each tree in front of it.

        Raises:
            InputError: a node of two parents or of none but one a tree, a cycle, a number that is not finite.
        """
        branches = np.flatnonzero(~self.leaf)
        below = np.concatenate([self.yes[branches], self.no[branches]])
        parents = np.bincount(below, minlength=len(self.tree))
        first = np.flatnonzero(parents == 0)
        if parents.max(initial=0) > 1 or not np.array_equal(self.tree[first], np.arange(self.tree[-1] + 1)):
            raise broken("has nodes that are no tree: one root each, and one way to each node")
        if not (np.isfinite(self.threshold).all() and np.isfinite(self.value).all() and np.isfinite(self.base).all()):
            raise broken("has a threshold or a weight that is not finite")
        if not np.array_equal(first, self.root):
            order = np.lexsort((parents > 0, self.tree))
            place = np.argsort(order)
            columns = ("feature", "mode", "threshold", "missing", "value")
            moved = {name: getattr(self, name)[order] for name in columns}
            return replace(self, **moved, yes=place[self.yes[order]], no=place[self.no[order]])._reached()
        return self._reached()

    def _reached(self) -> Self:
        if sum(level.size for level in self.levels()) != len(self.tree):
            raise broken("has nodes that no root leads to")
        return self

    def written(self, node: "onnx.NodeProto") -> "onnx.NodeProto":
        """A copy of the node that it was read from, with these trees in the place of its own, added up."""
        from onnx import helper

        start = self.root[self.tree]
        number, leaf = np.arange(len(self.tree)) - start, self.leaf
        rows, columns = self._weighed(np.flatnonzero(leaf))
        kind, double = _WEIGHTS[node.op_type], self.threshold.dtype == np.float64
        lists: dict[str, Any] = {
            "nodes_treeids": self.tree,
            "nodes_nodeids": number,
            "nodes_featureids": np.maximum(self.feature, 0),
            "nodes_modes": [_LEAF if at_leaf else _MODES[m] for at_leaf, m in zip(leaf, self.mode, strict=True)],
            "nodes_values": np.where(leaf, 0, self.threshold),
            "nodes_truenodeids": np.where(leaf, 0, self.yes - start),
            "nodes_falsenodeids": np.where(leaf, 0, self.no - start),
            "nodes_missing_value_tracks_true": self.missing.astype(np.int64),
            f"{kind}_treeids": self.tree[rows],
            f"{kind}_nodeids": number[rows],
            f"{kind}_ids": self.ids[columns],
            f"{kind}_weights": self.value[rows, columns],
        }
        made = type(node)()
        made.CopyFrom(node)
        gone = {*lists, "nodes_hitrates", "aggregate_function", "nodes_values_as_tensor", f"{kind}_weights_as_tensor",
                "nodes_hitrates_as_tensor"}  # fmt: skip
        left = [a for a in node.attribute if a.name not in gone]
        del made.attribute[:]
        made.attribute.extend(left)
        for name, column in lists.items():
            if double and name in ("nodes_values", f"{kind}_weights"):
                tensor = helper.make_tensor(name, 11, [len(column)], np.asarray(column, np.float64))
                made.attribute.append(helper.make_attribute(f"{name}_as_tensor", tensor))
            else:
                made.attribute.append(helper.make_attribute(name, list(np.asarray(column).tolist())))
        return made

    def _weighed(self, leaves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The leaves and columns of the weights that are written: of many classes only what is not 0, one at least.

        Of two classes all: engines tell by the classes that occur whether one number stands for both.
        """
        held = self.value[leaves] != 0
        held[~held.any(1), 0] = True
        rows, columns = np.nonzero(held if len(self.ids) > 2 else np.ones_like(held))
        return leaves[rows], columns
