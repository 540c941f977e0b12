"""Layer by layer: each on its own, fed what the reference has there, so that the errors of others are not in it.

The graph is cut at every tensor that has a partner in the reference. Pieces between cuts are run side by side in one
file, where no engine can fuse across a cut, a chunk of them at a time, so that memory stays bounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import helper

from hasten.diagnose.differ.cut import Graph, Piece
from hasten.diagnose.differ.distance import distance
from hasten.diagnose.differ.pairs import Pairs
from hasten.diagnose.differ.runner import Runs
from hasten.errors import InputError
from hasten.model import Arrays
from hasten.search.progress import Progress

CHUNK_MB, CHUNK_LAYERS = 48.0, 64  # tensors of the reference, and pieces, that are held at a time
NEAR = 8  # tensors before and behind, among which a pair that does not fit is looked for anew


@dataclass(frozen=True)
class Layer:
    """A piece of a graph beside the reference; errors are shares of the reference's largest magnitude there.

    Attributes:
        module: the user's; the node's name where nobody has said.
        ops, nodes: its operators, and the names of its nodes, in the order of the file.
        tensor, partner: what it makes, here and in the reference.
        own: error where it is fed what the reference has.
        arrives: the largest error of what it is fed in the whole graph; None where that could not be seen.
        total: error of what it makes there; None likewise.
        cosine: of what it makes on its own.
        reason: why it could not be run on its own; its `own` is 0 then.
    """

    module: str
    ops: tuple[str, ...]
    nodes: tuple[str, ...]
    tensor: str
    partner: str
    own: float
    arrives: float | None
    total: float | None
    cosine: float
    piece: Piece
    reason: str = ""


class Trace:
    """What one whole graph makes of one feed, at whatever tensors are asked for."""

    def __init__(self, graph: Graph, runs: Runs, feed: Arrays) -> None:
        self.graph, self.runs, self.feed = graph, runs, feed

    def at(self, tensors: Sequence[str]) -> dict[str, np.ndarray]:
        """
        Raises:
            InputError: the engine does not show them.
        """
        inner = [t for t in dict.fromkeys(tensors) if t not in self.feed]
        made = self.runs.run(self.graph.also(inner), self.feed) if inner else {}
        return {t: self.feed[t] if t in self.feed else made[t] for t in tensors}


def pieces(graph: Graph, tensors: Sequence[str]) -> list[Piece]:
    """The graph cut at these tensors, in its own order; a node that makes several of them makes one piece."""
    stops, by_maker = set(tensors), dict[int, list[str]]()
    for name in tensors:
        if name in graph.maker:
            by_maker.setdefault(graph.maker[name], []).append(name)
    return [graph.piece(by_maker[place], stops) for place in sorted(by_maker)]


class Walk:
    """Looks at every layer of `other`; `pairs` may be set anew where values say so."""

    def __init__(self, pairs: Pairs, ref: Trace, other: Trace, tolerance: float, progress: Progress) -> None:
        self.pairs, self.ref, self.other, self.tolerance, self.progress = pairs, ref, other, tolerance, progress
        self._done: dict[tuple[Piece, tuple[str, ...]], Layer] = {}
        self._total: dict[str, float | None] = dict.fromkeys(other.feed, 0.0)
        self._tried: set[tuple[str, str]] = set()

    def layers(self) -> list[Layer]:
        """In the order of the graph.

        Raises:
            InputError: the reference's engine does not show its tensors.
        """
        while True:
            whole = pieces(self.other.graph, list(self.pairs.of))
            left = [piece for piece in whole if self._key(piece) not in self._done]
            if not left:
                return [self._done[self._key(piece)] for piece in whole]
            self.progress.stage(f"layers: {len(whole) - len(left)} of {len(whole)}")
            chunk = self._chunk(left)
            found, alone = self._look(chunk)
            settled = [self._settled(layer, alone) for layer in found if layer.own > self.tolerance]
            if not any(settled):
                self._done |= {self._key(layer.piece): layer for layer in found}
            alone.clear()
            for trace in (self.ref, self.other):
                trace.runs.clear()

    def _key(self, piece: Piece) -> tuple[Piece, tuple[str, ...]]:
        return piece, tuple(self.pairs.of[t] for t in (*piece.inputs, *piece.outputs))

    def _chunk(self, left: Sequence[Piece]) -> list[Piece]:
        chosen, held = list[Piece](), set[str]()
        for piece in left[:CHUNK_LAYERS]:
            held |= {self.pairs.of[t] for t in (*piece.inputs, *piece.outputs)}
            if chosen and sum(map(self._size_mb, held)) > CHUNK_MB:
                break
            chosen.append(piece)
        return chosen

    def _size_mb(self, theirs: str) -> float:
        samples = max((len(a) for a in self.ref.feed.values() if a.ndim), default=1)
        shape = self.ref.graph.shapes.get(theirs, (1 << 18,))
        return 4e-6 * samples * float(np.prod(shape))

    def _look(self, chunk: Sequence[Piece]) -> tuple[list[Layer], dict[str, np.ndarray]]:
        """The layers, and what each makes on its own."""
        of = self.pairs.of
        right = self.ref.at([of[t] for piece in chunk for t in (*piece.inputs, *piece.outputs)])
        outputs = [t for piece in chunk for t in piece.outputs]
        try:
            came = self.other.at(outputs)
            self._total |= {t: distance(came[t], right[of[t]]).error for t in outputs}
        except InputError:  # it does not show them all at once, or dies of it
            self._total |= dict.fromkeys(outputs)
        alone, reasons = self._alone(chunk, right)
        return [self._layer(piece, right, alone, reasons) for piece in chunk], alone

    def _alone(self, chunk: Sequence[Piece], right: Arrays) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """What pieces make where they are fed what the reference has; or why one of them cannot be run."""
        feed = {
            f"{i}.{t}": self._cast(right[self.pairs.of[t]], t) for i, piece in enumerate(chunk) for t in piece.inputs
        }
        try:
            made = self.other.runs.run(self.other.graph.file_of(chunk, feed), feed)
        except InputError as fault:
            if len(chunk) == 1:
                return {}, dict.fromkeys(chunk[0].outputs, str(fault))
            halves = [self._alone(part, right) for part in (chunk[: len(chunk) // 2], chunk[len(chunk) // 2 :])]
            return halves[0][0] | halves[1][0], halves[0][1] | halves[1][1]
        return {t: made[f"{i}.{t}"] for i, piece in enumerate(chunk) for t in piece.outputs}, {}

    def _cast(self, array: np.ndarray, tensor: str) -> np.ndarray:
        """In the type that the tensor has in this graph: a file in f16 is fed f16."""
        kind = self.other.graph.kinds.get(tensor)
        return array.astype(helper.tensor_dtype_to_np_dtype(kind), copy=False) if kind else array

    def _layer(self, piece: Piece, right: Arrays, alone: Arrays, reasons: dict[str, str]) -> Layer:
        graph, of = self.other.graph, self.pairs.of
        apart = {t: distance(alone[t], right[of[t]]) for t in piece.outputs if t in alone}
        worst = max(apart, key=lambda t: apart[t].error, default=piece.outputs[0])
        main = graph.maker[worst]
        totals = [self._total.get(t) for t in piece.outputs]
        arriving = [self._total.get(t) for t in piece.inputs]
        return Layer(
            graph.module(main),
            tuple(graph.nodes[place].op_type for place in piece.nodes if not _idle(graph, place)),
            tuple(graph.name(place) for place in piece.nodes if not _idle(graph, place)),
            worst,
            of[worst],
            apart[worst].error if apart else 0.0,
            _largest(arriving),
            _largest(totals),
            apart[worst].cosine if apart else 0.0,
            piece,
            reasons.get(worst, ""),
        )

    def _settled(self, layer: Layer, alone: Arrays) -> bool:
        """Whether a pair was wrong, and another of nearby tensors without partners fits by value."""
        tensor, partner = layer.tensor, layer.partner
        if layer.reason or (tensor, partner) in self._tried:
            return False
        self._tried.add((tensor, partner))
        theirs, mine = self.pairs.free()
        for other in _near(self.ref.graph, partner, theirs):
            if self.pairs.fit(other, tensor) and self._is(alone[tensor], self.ref, other):
                self.pairs.set(tensor, other)
                return True
        for other in _near(self.other.graph, tensor, mine):
            if not self.pairs.fit(partner, other):
                continue
            piece = self.other.graph.piece([other], set(self.pairs.of) - {tensor})
            right = self.ref.at([*(self.pairs.of[t] for t in piece.inputs), partner])
            made, _ = self._alone([piece], right)
            if other in made and distance(made[other], right[partner]).error <= self.tolerance:
                del self.pairs.of[tensor]
                self.pairs.set(other, partner)
                return True
        return False

    def _is(self, value: np.ndarray, trace: Trace, tensor: str) -> bool:
        return distance(value, trace.at([tensor])[tensor]).error <= self.tolerance


def _near(graph: Graph, tensor: str, free: Sequence[str]) -> Iterator[str]:
    """Of these points those around a tensor, what follows it first."""
    if tensor not in graph.maker:
        return
    order = {t: n for n, t in enumerate(graph.points)}
    at = order.get(tensor, 0) or sum(graph.maker[t] < graph.maker[tensor] for t in order)
    near = [t for t in free if abs(order[t] - at) <= NEAR]
    yield from sorted(near, key=lambda t: (order[t] < at, abs(order[t] - at)))


def _idle(graph: Graph, place: int) -> bool:
    """A node of which no input depends on the network's: constants, and the DQ of weights."""
    return all(name in graph.constant for name in graph.nodes[place].output)


def _largest(errors: Sequence[float | None]) -> float | None:
    known = [e for e in errors if e is not None]
    return max(known) if len(known) == len(errors) and known else None
