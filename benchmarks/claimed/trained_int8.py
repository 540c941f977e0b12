"""Training for INT8 loses no more than INT8 without training."""

from collections.abc import Iterator, Sequence

import aware
from claimed import ENGINES, Figure, Verdict, few, judged, points

CLAIM = "INT8 that was trained for loses no more than INT8 without training"
RULE = (
    "On each network and engine, quantize_aware beside the better of `quantize` and `quantize(method=placed)`. Figures "
    "are what training brings, in points. It holds if no interval lies below 0, and none is worse than -0.5; does not "
    "hold if all lie below 0; depends else."
)
TIMED = False
NETWORKS = ("plain", "residual", "mobile", "transformer")
EPOCHS, WORSE = 2, -0.5


def prepare() -> None:
    list(figures())


def figures() -> Iterator[Figure]:
    for name in NETWORKS:
        for engine in ENGINES:
            ways = list(aware.answers(few(name), engine, EPOCHS))
            recipe, floats, without, trained = max(ways, key=lambda way: way[2].mean())
            lost = 100 * float((floats - without).mean())
            yield points(f"{name} on {engine}", trained, without, f"{recipe} loses {lost:+.2f}")


def verdict(found: Sequence[Figure]) -> Verdict:
    return judged(found, lambda f: f.high >= 0 and f.value > WORSE, lambda f: f.high < 0)  # type: ignore[operator]
