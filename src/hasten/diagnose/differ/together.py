"""Where no layer differs by itself and the outputs do: does fusing them make the error, or do small ones add up?

A row of layers is run as one file, and then cut, each layer fed what the one before made. Where only the first differs,
what the engine made of them together is the cause. Bisection finds the shortest such row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import helper

from hasten.diagnose.differ.cut import Piece
from hasten.diagnose.differ.distance import distance
from hasten.diagnose.differ.layers import Trace, pieces
from hasten.model import Arrays

CLEAR = 4.0  # times the error of the layers cut that they have together, for fusing to be the cause


@dataclass(frozen=True)
class Together:
    """The modules of a row of layers, in order; their error as one file, and cut."""

    names: tuple[str, ...]
    error: float
    cut: float


class Rows:
    """Rows of neighbouring pieces of one graph, fed what the reference has."""

    def __init__(self, of: Mapping[str, str], ref: Trace, other: Trace) -> None:
        """
        Args:
            of: tensors of `other`, at which it is cut -> those of the reference.
        """
        self.of, self.ref, self.other = of, ref, other
        self.whole = pieces(other.graph, list(of))

    def place(self, tensor: str) -> int | None:
        """Of the piece that makes a tensor."""
        return next((place for place, piece in enumerate(self.whole) if tensor in piece.outputs), None)

    def find(self, tolerance: float) -> Together | None:
        """The shortest row that bisection finds whose error is above the tolerance only, or far more, while it is one.

        None where the whole graph is within the tolerance, or where the errors of single layers add up.

        Raises:
            InputError: the engine refuses a row.
        """
        last = self._first_above(tolerance)
        if last is None:
            return None
        low, high = 0, last  # the row from `low` on is above, the one from `high` on is not, or is a single layer
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.error(middle, last) > tolerance else (low, middle)
        error, cut = self.error(low, last), self.cut(low, last)
        fused = error > tolerance and (cut <= tolerance or error > CLEAR * cut) and last > low
        graph = self.other.graph
        names = (graph.module(graph.maker[piece.outputs[-1]]) for piece in self.whole[low : last + 1])
        return Together(tuple(dict.fromkeys(names)), error, cut) if fused else None

    def _first_above(self, tolerance: float) -> int | None:
        """The place of the last layer of a row from the first on that is above; the one without it is not."""
        low, high = -1, len(self.whole) - 1
        if high < 0 or self.error(0, high) <= tolerance:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.error(0, middle) > tolerance else (middle, high)
        return high

    def error(self, first: int, last: int) -> float:
        """Of a row as one file, over all that it makes for others."""
        piece = self._joined(first, last)
        right = self.ref.at([self.of[t] for t in (*piece.inputs, *piece.outputs)])
        feed = {f"0.{t}": self._cast(right[self.of[t]], t) for t in piece.inputs}
        made = self.other.runs.run(self.other.graph.file_of([piece], feed), feed)
        worst = max(distance(made[f"0.{t}"], right[self.of[t]]).error for t in piece.outputs)
        self._clear()
        return worst

    def cut(self, first: int, last: int) -> float:
        """Of the same row layer by layer, each fed what those before it in the row have made."""
        row, part = self._joined(first, last), self.whole[first : last + 1]
        inside = {t for piece in part for t in piece.outputs}
        given = list(dict.fromkeys(t for piece in part for t in piece.inputs if t not in inside))
        known = {t: np.array(self._cast(a, t)) for t, a in zip(given, self._right(given), strict=True)}
        for place in range(first, last + 1):
            piece = self.whole[place]
            feed = {f"0.{t}": known[t] for t in piece.inputs}
            made = self.other.runs.run(self.other.graph.file_of([piece], feed), feed)
            known |= {t: np.array(made[f"0.{t}"]) for t in piece.outputs}
            later = {t for p in self.whole[place + 1 : last + 1] for t in p.inputs} | set(row.outputs)
            known = {t: a for t, a in known.items() if t in later}
            self._clear()
        errors = [distance(known[t], a).error for t, a in zip(row.outputs, self._right(row.outputs), strict=True)]
        self._clear()
        return max(errors)

    def _right(self, tensors: Sequence[str]) -> list[np.ndarray]:
        found: Arrays = self.ref.at([self.of[t] for t in tensors])
        return [found[self.of[t]] for t in tensors]

    def _joined(self, first: int, last: int) -> Piece:
        """One piece of a row: it gives what later layers, or the network, take from it."""
        inside = {t for piece in self.whole[first : last + 1] for t in piece.outputs}
        later = {t for piece in self.whole[last + 1 :] for t in piece.inputs} | set(self.other.graph.outputs)
        ends = [t for piece in self.whole[first : last + 1] for t in piece.outputs if t in later]
        return self.other.graph.piece(ends or self.whole[last].outputs, set(self.of) - inside)

    def _cast(self, array: np.ndarray, tensor: str) -> np.ndarray:
        kind = self.other.graph.kinds.get(tensor)
        return array.astype(helper.tensor_dtype_to_np_dtype(kind), copy=False) if kind else array

    def _clear(self) -> None:
        for trace in (self.ref, self.other):
            trace.runs.clear()
