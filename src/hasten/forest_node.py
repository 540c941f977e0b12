"""What the node of a tree ensemble holds: its lists by name, and where a node of a tree stands in them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from hasten.errors import InputError

if TYPE_CHECKING:
    import onnx


class Places:
    """Where a node of a tree stands, by the numbers that the file gives both."""

    def __init__(self, tree: np.ndarray, number: np.ndarray) -> None:
        self.tree, self.number = tree, number
        self._low, self._high = int(min(0, number.min())), int(number.max())
        if tree.min() < 0 or (int(tree.max()) + 1) * (self._high - self._low + 1) >= 2**62:
            raise broken("numbers its nodes wildly")
        keys = self._keys(tree, number)
        self._order = np.argsort(keys, kind="stable")
        self._keyed = keys[self._order]
        if (self._keyed[1:] == self._keyed[:-1]).any():
            raise broken("gives two nodes of a tree the same number")

    def _keys(self, tree: np.ndarray, number: np.ndarray) -> np.ndarray:
        return np.asarray(tree * (self._high - self._low + 1) + number - self._low)

    def of(self, tree: np.ndarray, number: np.ndarray) -> np.ndarray:
        """int [m]: places.

        Raises:
            InputError: there is no such node.
        """
        known = (self._low <= number) & (number <= self._high) & (tree >= 0) & (tree <= self.tree.max())
        asked = self._keys(np.where(known, tree, 0), np.where(known, number, self._low))
        found = np.minimum(np.searchsorted(self._keyed, asked), len(self._keyed) - 1)
        if not (known & (self._keyed[found] == asked)).all():
            raise broken("leads to a node that is not there")
        return np.asarray(self._order[found])


def values(held: dict[str, Any], kind: str, place: Places, leaf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f64 [M, K], and the K classes or targets that they are of."""
    tree, number, ids = (np.array(held.get(f"{kind}_{k}", ()), np.int64) for k in ("treeids", "nodeids", "ids"))
    weights = numbers(held, f"{kind}_weights").astype(np.float64)
    if not len(tree) == len(number) == len(ids) == len(weights):
        raise broken("has lists of weights of different lengths")
    known = np.unique(ids)
    at = place.of(tree, number)
    if not known.size or not leaf[at].all():
        raise broken("has weights in branches, or none")
    value = np.zeros((len(leaf), len(known)))
    np.add.at(value, (at, np.searchsorted(known, ids)), weights)
    return value, known


def held_by(node: "onnx.NodeProto") -> dict[str, Any]:
    from onnx import helper

    held = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: [i.decode() if isinstance(i, bytes) else i for i in v] if isinstance(v, list) and k == "nodes_modes"
            else v.decode() if isinstance(v, bytes) else v for k, v in held.items()}  # fmt: skip


def numbers(held: dict[str, Any], name: str) -> np.ndarray:
    """A list of f32, or a tensor where the file holds f64."""
    from onnx import numpy_helper

    tensor = held.get(f"{name}_as_tensor")
    return np.asarray(numpy_helper.to_array(tensor)) if tensor is not None else np.array(held.get(name, ()), np.float32)


def broken(what: str) -> InputError:
    return InputError(f"an ensemble of trees {what}", "convert the estimator again")
