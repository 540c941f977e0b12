"""The picture of a search: speed against accuracy, with the Pareto front. Geometry only; the page draws it."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hasten.report.cells import Row, fixed, interval, signed, times

WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 20, 52  # margins
BEYOND = 4.0  # times the budget: what drops more is drawn at the edge, so that the rest can be told apart
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 500, 1000)
_LETTER = 6.4  # width of one, about


@dataclass(frozen=True)
class Mark:
    """A row as it stands in the picture, in pixels."""

    x: float
    y: float
    low_y: float  # the ends of its error bar: the lower drop is higher up
    high_y: float
    kind: str  # baseline, kept, rejected, winner
    beyond: bool  # its drop is outside the picture
    tip: str
    label: str = ""  # of those on the front
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class Picture:
    marks: tuple[Mark, ...]
    front: str  # points of the line
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    budget_y: float


@dataclass(frozen=True)
class _Scale:
    """Speedup -> x, logarithmic; drop -> y, less is higher."""

    slow: float
    fast: float
    best: float
    worst: float

    def x(self, speedup: float) -> float:
        share = math.log(speedup / self.slow) / math.log(self.fast / self.slow)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, drop: float) -> float:
        inside = min(max(drop, self.best), self.worst)
        return round(TOP + (inside - self.best) / (self.worst - self.best) * (HEIGHT - TOP - BOTTOM), 1)


def picture(result: Mapping[str, Any]) -> Picture | None:
    """
    Args:
        result: as in spec/result.schema.json.

    Returns:
        None where no row has both a speedup and a drop.
    """
    rows = _rows(result)
    if not rows:
        return None
    scale = _scale(rows, result["max_drop"])
    best = front(rows)
    line = _steps([(scale.x(r["speedup"]), scale.y(r["accuracy_drop"])) for r in best])
    names = [_name(row, result) if row in best else "" for row in rows]
    placed = _labelled([_mark(row, scale, result) for row in rows], names, line)
    points = " ".join(f"{x},{y}" for x, y in line)
    return Picture(tuple(placed), points, _x_ticks(scale), _y_ticks(scale), scale.y(result["max_drop"]))


def front(rows: Iterable[Row]) -> list[Row]:
    """Those that no other beats in both speed and accuracy, the fastest first."""
    best: list[Row] = []
    for row in sorted(rows, key=lambda r: (-r["speedup"], r["accuracy_drop"])):
        if not best or row["accuracy_drop"] < best[-1]["accuracy_drop"]:
            best.append(row)
    return best


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A staircase through points that go left and up: what lies below it is beaten."""
    corners = [(here[0], before[1]) for before, here in itertools.pairwise(points)]
    return [*(p for pair in zip(points, corners, strict=False) for p in pair), points[-1]]


def _rows(result: Mapping[str, Any]) -> list[Row]:
    """Every row that can be drawn; the winner takes the place of the row that it was before the final."""
    winner = result["winner"]
    same = (winner["recipe"], winner["engine"]) if winner else None
    others = [r for r in (*result["baselines"], *result["trials"]) if (r["recipe"], r["engine"]) != same]
    return [r for r in (*others, *([winner] if winner else [])) if r["speedup"] and r["accuracy_drop"] is not None]


def _scale(rows: Sequence[Row], budget: float) -> _Scale:
    speeds, drops = [r["speedup"] for r in rows], [r["accuracy_drop"] for r in rows]
    ends = [e for r in rows for e in r["accuracy_drop_ci95"] or () if not budget or e <= BEYOND * budget]
    near = [d for d in drops if not budget or d <= BEYOND * budget]
    best, worst = min([0.0, *near, *ends]), max([budget, 0.0, *near, *ends])
    room = 0.08 * (worst - best) or 1e-3
    return _Scale(min(*speeds, 1.0) / 1.12, max(*speeds, 1.0) * 1.12, best - room, worst + room)


def _mark(row: Row, scale: _Scale, result: Mapping[str, Any]) -> Mark:
    drop, ends = row["accuracy_drop"], row["accuracy_drop_ci95"]
    low, high = ends or (drop, drop)
    tip = (
        f"{row['recipe']} on {row['engine']}: {interval(row['speedup'], row['speedup_ci95'], times)} times as fast, "
        f"{result['metric']['name']} {fixed(row['accuracy'])}, drop {interval(drop, ends, signed)}"
    )
    kind = "winner" if row is result["winner"] else row["status"]
    return Mark(scale.x(row["speedup"]), scale.y(drop), scale.y(low), scale.y(high), kind, drop > scale.worst, tip)


def _name(row: Row, result: Mapping[str, Any]) -> str:
    """Of a mark: what a search tells apart is the precision and the engine; a comparison says the recipe."""
    return str(row["recipe"]) if "rows" in result else f"{row['precision']}, {row['engine'].partition('(')[0]}"


def _labelled(marks: Sequence[Mark], names: Sequence[str], line: Sequence[tuple[float, float]]) -> list[Mark]:
    """Give the marks that have a name a label each, beside them where there is room, else above or below."""
    boxes = [(m.x - 9, m.y - 9, m.x + 9, m.y + 9) for m in marks]
    boxes += [(m.x - 2, m.low_y, m.x + 2, m.high_y) for m in marks]
    boxes += [(b[0] - 2, b[1] - 2, a[0] + 2, a[1] + 2) for a, b in itertools.pairwise(line)]
    made = []
    for mark, text in zip(marks, names, strict=True):
        made.append(_put(mark, text, boxes) if text else mark)
    return made


def _put(mark: Mark, text: str, taken: list[tuple[float, float, float, float]]) -> Mark:
    wide = _LETTER * len(text)
    places = [(side, up) for up in (4, -12, 20, -28, 36, -44, 52) for side in ("start", "end")]
    boxes = {p: _box(mark, p, wide) for p in places}
    inside = [
        p for p in places if boxes[p][0] >= LEFT and boxes[p][2] <= WIDTH and TOP - 8 <= boxes[p][1] <= HEIGHT - BOTTOM
    ]
    free = [p for p in inside if not any(_meet(boxes[p], other) for other in taken)]
    side, up = (free or inside or places)[0]
    taken.append(boxes[side, up])
    x = mark.x + (12 if side == "start" else -12)
    return Mark(mark.x, mark.y, mark.low_y, mark.high_y, mark.kind, mark.beyond, mark.tip, text, x, mark.y + up, side)


def _box(mark: Mark, place: tuple[str, int], wide: float) -> tuple[float, float, float, float]:
    side, up = place
    left = mark.x + 12 if side == "start" else mark.x - 12 - wide
    return left, mark.y + up - 11, left + wide, mark.y + up + 3


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _x_ticks(scale: _Scale) -> tuple[tuple[float, str], ...]:
    inside = [s for s in _STEPS if scale.slow <= s <= scale.fast]
    return tuple((scale.x(s), f"{s:g}") for s in inside)


def _y_ticks(scale: _Scale) -> tuple[tuple[float, str], ...]:
    """Round drops, about six."""
    rough = (scale.worst - scale.best) / 6
    size = 10 ** math.floor(math.log10(rough))
    step = next(s * size for s in (1, 2, 5, 10) if s * size >= rough)
    first = math.ceil(scale.best / step)
    values = [n * step for n in range(first, math.floor(scale.worst / step) + 1)]
    return tuple((scale.y(v), f"{v:+.{max(0, -math.floor(math.log10(step)))}f}" if v else "0") for v in values)
