"""The picture of a roofline: operations a second against operations a byte. Geometry only; the page draws it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hasten.report.cells import digits, percent
from hasten.report.picture import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH

LARGEST, SMALLEST = 13.0, 2.5  # radii: the area of a layer is its share of the time
_ROOM = 1.6  # factor left free at the ends


@dataclass(frozen=True)
class Spot:
    """A layer, in pixels."""

    x: float
    y: float
    radius: float
    kind: str  # what it is bound by
    place: int  # among the layers
    tip: str


@dataclass(frozen=True)
class Roof:
    """What no layer can exceed: a slope of memory, or the flat peak of a precision."""

    kind: str  # memory, compute
    points: str
    label: str
    x: float  # of the label
    y: float


@dataclass(frozen=True)
class Picture:
    roofs: tuple[Roof, ...]
    spots: tuple[Spot, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Scale:
    """Operations a byte -> x, operations a second -> y, both logarithmic."""

    least: float
    most: float
    slow: float
    fast: float

    def x(self, intensity: float) -> float:
        share = math.log(intensity / self.least) / math.log(self.most / self.least)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, per_s: float) -> float:
        share = math.log(per_s / self.slow) / math.log(self.fast / self.slow)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def picture(found: Mapping[str, Any]) -> Picture | None:
    """
    Args:
        found: `roofline` of a row, as in spec/measure.schema.json.

    Returns:
        None where no layer has both arithmetic and a time.
    """
    drawn = [(place, layer) for place, layer in enumerate(found["layers"]) if layer["per_s"] and layer["bytes"]]
    if not drawn:
        return None
    scale = scaled([layer for _, layer in drawn], found["peaks"])
    longest = max(layer["ms"] for _, layer in drawn)
    spots = [_spot(place, layer, scale, longest) for place, layer in drawn]
    return Picture(
        tuple(_roofs(found["peaks"], scale)),
        tuple(sorted(spots, key=lambda s: -s.radius)),  # the small ones in front
        _ticks(scale.least, scale.most, scale.x, 1.0),
        _ticks(scale.slow, scale.fast, scale.y, 1e9),
    )


def scaled(layers: Sequence[Mapping[str, Any]], peaks: Mapping[str, Any]) -> Scale:
    """All layers, and where the slowest and the fastest memory meet the highest peak."""
    intensities, speeds = [_intensity(layer) for layer in layers], [layer["per_s"] for layer in layers]
    highest = max([*peaks["operations"].values(), *speeds])
    ridges = [highest / rate for rate in peaks["read"].values()]
    return Scale(
        min([*intensities, min(ridges) / _ROOM]) / _ROOM,
        max([*intensities, *ridges]) * _ROOM,
        min(speeds) / _ROOM,
        highest * _ROOM,
    )


def _intensity(layer: Mapping[str, Any]) -> float:
    return float(layer["operations"] / layer["bytes"])


def _spot(place: int, layer: Mapping[str, Any], scale: Scale, longest: float) -> Spot:
    name = ", ".join(layer["modules"]) or layer["layer"]
    tip = (
        f"{name}, {layer['op']} {layer['precision']}: {digits(layer['ms'])} ms, {percent(layer['share'])} of the time; "
        f"{digits(layer['per_s'] / 1e9)} Gop/s, {digits(_intensity(layer))} operations a byte; "
        f"uses {percent(layer['utilization'])}, bound by {layer['bound']}"
    )
    radius = max(SMALLEST, LARGEST * math.sqrt(layer["ms"] / longest))
    return Spot(scale.x(_intensity(layer)), scale.y(layer["per_s"]), round(radius, 1), layer["bound"], place, tip)


def _roofs(peaks: Mapping[str, Any], scale: Scale) -> list[Roof]:
    """A slope ends at the highest peak; a peak begins where the fastest memory reaches it."""
    made = []
    top, nearest = max(peaks["operations"].values()), max(peaks["read"].values())
    for level, rate in peaks["read"].items():
        start, end = max(scale.least, scale.slow / rate), top / rate
        if end > start:
            ends = ((scale.x(start), scale.y(start * rate)), (scale.x(end), scale.y(top)))
            text = f"{level} {digits(rate / 1e9)} GB/s"
            middle = math.sqrt(start * end)
            made.append(Roof("memory", _points(ends), text, scale.x(middle), scale.y(middle * rate) - 4))
    for precision, rate in peaks["operations"].items():
        start = max(scale.least, rate / nearest)
        ends = ((scale.x(start), scale.y(rate)), (scale.x(scale.most), scale.y(rate)))
        text = f"{precision} {digits(rate / 1e9)} Gop/s"
        made.append(Roof("compute", _points(ends), text, scale.x(scale.most) - 4, scale.y(rate) - 5))
    return made


def _points(ends: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in ends)


def _ticks(low: float, high: float, where: Any, unit: float) -> tuple[tuple[float, str], ...]:
    """Powers of ten."""
    powers = range(math.ceil(math.log10(low / unit)), math.floor(math.log10(high / unit)) + 1)
    return tuple((where(unit * 10.0**p), f"{10.0**p:g}") for p in powers)
