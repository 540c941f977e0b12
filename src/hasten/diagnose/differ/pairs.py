"""Which tensor of one graph is which of another: by name, by weights, by what it is made of, by module and order.

Two files of one network seldom have the same nodes: one has Q and DQ, the other a batch norm less. What follows finds
the tensors that mean the same in both; those between them stay inside a piece. A pair can be wrong where a file was
rewritten: the walk over the layers settles such pairs by value (hasten.diagnose.differ.layers).
"""

import difflib
import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping

from onnx import numpy_helper

from hasten.diagnose.differ.cut import FLOATS, Graph
from hasten.provenance import module_of

TRUSTED = 0.8  # share of equal names that have to stand for the same operator, for names to mean anything
CONTRADICTED = 0.1  # share of equal weights under other names, above which they do not
_SMALL = 8  # elements up to which a weight can be an axis or a slope that many nodes have


class Pairs:
    """Tensors of `other` by those of `ref`; `Pairs.of[tensor of other]` is that of the reference."""

    def __init__(self, ref: Graph, other: Graph, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
        """
        Args:
            inputs, outputs: names of the other's -> names of the reference's.
        """
        self.ref, self.other = ref, other
        self.of: dict[str, str] = dict(inputs)
        self._taken = set(self.of.values())
        for tensor, theirs in outputs.items():
            if tensor in other.maker and theirs in ref.maker:
                self._add(tensor, theirs)
        weights = (_weights(ref), _weights(other))
        if self._trusted(*weights):
            self._by(lambda graph, t: t, self._alike)
        self._by(lambda graph, t: weights[graph is other].get(t))
        self._by_makers()
        self._by(_in_module(ref, other))
        self._by_makers()
        self._in_order()
        self._by_makers()
        self._stored()

    def set(self, tensor: str, partner: str) -> None:
        """Pair anew."""
        self.of[tensor] = partner
        self._taken = set(self.of.values())

    def swapped(self) -> "Pairs":
        """The same pairs, the other as the reference; of several tensors with one partner the first."""
        made = object.__new__(Pairs)
        made.ref, made.other, made.of = self.other, self.ref, {}
        for tensor, partner in self.of.items():
            made.of.setdefault(partner, tensor)
        made._taken = set(made.of.values())
        return made

    def free(self) -> tuple[list[str], list[str]]:
        """Points of the reference, and of the other, without a partner."""
        theirs = [t for t in self.ref.points if t not in self._taken]
        return theirs, [t for t in self.other.points if t not in self.of]

    def fit(self, theirs: str, tensor: str) -> bool:
        """Whether shapes and kinds of type allow it."""
        a, b = self.ref.shapes.get(theirs), self.other.shapes.get(tensor)
        kinds = {k in FLOATS for k in (self.ref.kinds.get(theirs), self.other.kinds.get(tensor)) if k}
        return (a is None or b is None or a == b) and len(kinds) < 2

    def _add(self, tensor: str, theirs: str) -> bool:
        if tensor in self.of or theirs in self._taken or not self.fit(theirs, tensor):
            return False
        self.of[tensor] = theirs
        self._taken.add(theirs)
        return True

    def _alike(self, theirs: str, tensor: str) -> bool:
        """Whether two of one name have a maker in common: its operator, its name or its module."""
        a, b = self.ref.node(theirs), self.other.node(tensor)
        if a is None or b is None:
            return False
        return a.op_type == b.op_type or bool(a.name and a.name == b.name) or module_of(a) == module_of(b)

    def _trusted(self, theirs: dict[str, Hashable], mine: dict[str, Hashable]) -> bool:
        """Whether equal names mean equal tensors: exporters number theirs anew when one node is gone."""
        shared = [t for t in self.other.points if t in self.ref.maker]
        same = sum(self.ref.nodes[self.ref.maker[t]].op_type == self.other.nodes[self.other.maker[t]].op_type
                   for t in shared)  # fmt: skip
        by_weights = {key: t for t, key in _unique(theirs).items()}
        anchors = [(by_weights[key], t) for t, key in _unique(mine).items() if key in by_weights]
        known = [(a, t) for a, t in anchors if t in self.ref.maker]
        contradicted = sum(a != t for a, t in known)
        return bool(shared) and same >= TRUSTED * len(shared) and contradicted <= CONTRADICTED * len(known)

    def _by(
        self,
        key: Callable[[Graph, str], Hashable | None],
        allowed: Callable[[str, str], bool] = lambda theirs, tensor: True,
    ) -> None:
        """Pair points that alone have a key in their graph."""
        theirs, mine = self.free()
        a = _unique({t: key(self.ref, t) for t in theirs})
        b = _unique({t: key(self.other, t) for t in mine})
        there = {k: t for t, k in a.items()}
        for tensor, k in b.items():
            if k in there and allowed(there[k], tensor):
                self._add(tensor, there[k])

    def _by_makers(self) -> None:
        """Pair what the same operator makes of the same tensors; or any operator, where each side has one."""
        theirs, _ = self.free()
        made: dict[Hashable, list[str]] = {}
        for t in theirs:
            for key in _keys(self.ref, t, {}):
                made.setdefault(key, []).append(t)
        for tensor in self.other.points:
            for key in _keys(self.other, tensor, self.of) if tensor not in self.of else ():
                left = [t for t in made.get(key, ()) if t not in self._taken and self.fit(t, tensor)]
                if len(left) == 1 and self._add(tensor, left[0]):
                    break

    def _in_order(self) -> None:
        """What is left, as two rows of operators: the longest runs that they share."""
        theirs, mine = self.free()
        a, b = ([(g.nodes[g.maker[t]].op_type, g.shapes.get(t)) for t in row]
                for g, row in ((self.ref, theirs), (self.other, mine)))  # fmt: skip
        for at, bt, length in difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks():
            for i in range(length):
                self._add(mine[bt + i], theirs[at + i])

    def _stored(self) -> None:
        """What Q and DQ make of a tensor stands for it, or for what they make of it in the reference."""
        there = _dequantized(self.ref)
        for tensor, origin in _dequantized(self.other).items():
            partner = self.of.get(origin)
            if partner is not None and tensor not in self.of:
                again = (t for t, source in there.items() if source == partner and t not in self._taken)
                self.of[tensor] = next(again, partner)
                self._taken.add(self.of[tensor])


def _dequantized(graph: Graph) -> dict[str, str]:
    """Output of a DQ behind a Q -> what the Q reads, where that depends on an input."""
    found = {}
    for node in graph.nodes:
        if node.op_type == "DequantizeLinear" and node.output[0] not in graph.constant:
            before = graph.node(node.input[0])
            if before is not None and before.op_type == "QuantizeLinear":
                found[node.output[0]] = before.input[0]
    return found


def _weights(graph: Graph) -> dict[str, Hashable]:
    """Operator and weights of what makes a point, where it has any that are its own."""
    digests: dict[str, str] = {}
    found: dict[str, Hashable] = {}
    for tensor in graph.points:
        node = graph.nodes[graph.maker[tensor]]
        own = []
        for name in node.input:
            weight = graph.weights.get(name)
            if weight is not None and len(numpy_helper.to_array(weight).reshape(-1)) > _SMALL:
                if name not in digests:
                    array = numpy_helper.to_array(weight)
                    digests[name] = hashlib.sha1(array.tobytes(), usedforsecurity=False).hexdigest()
                own.append(digests[name])
        if own:
            found[tensor] = (node.op_type, *own, list(node.output).index(tensor))
    return found


def _keys(graph: Graph, tensor: str, names: dict[str, str]) -> Iterable[Hashable]:
    """What it is made of, as the reference calls it: with the operator, then without; none where that is not known."""
    node = graph.nodes[graph.maker[tensor]]
    given = [graph.source(name) for name in graph.given(node)]
    known = [names.get(name) for name in given] if names else given
    if given and None not in known:
        place = list(node.output).index(tensor)
        return [(node.op_type, *known, place), ("any", *known, place)]
    return ()


def _in_module(ref: Graph, other: Graph) -> Callable[[Graph, str], Hashable]:
    """A key: the how-manieth output of this operator in its module."""
    keys: dict[tuple[bool, str], Hashable] = {}
    for graph in (ref, other):
        seen: dict[Hashable, int] = {}
        for tensor in graph.points:
            node = graph.nodes[graph.maker[tensor]]
            kind = (module_of(node), node.op_type)
            seen[kind] = seen.get(kind, 0) + 1
            keys[graph is other, tensor] = (*kind, seen[kind])
    return lambda graph, tensor: keys[graph is other, tensor]


def _unique(keys: dict[str, Hashable | None]) -> dict[str, Hashable]:
    """Those whose key no other has."""
    count: dict[Hashable, int] = {}
    for key in keys.values():
        count[key] = count.get(key, 0) + 1
    return {t: key for t, key in keys.items() if key is not None and count[key] == 1}
