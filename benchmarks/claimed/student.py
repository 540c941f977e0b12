"""A student's speed is its size."""

from collections.abc import Iterator, Sequence

from claimed import ENGINES, Figure, Verdict, few, judged, made_all, times
from hasten.measure.flops import count
from made import made
from shelf import raced

CLAIM = "A student is as much faster as it is smaller"
RULE = (
    "Students of three quarters, half and a quarter of the width, on each engine with one thread. Figures are "
    "speedups, divided by how many times fewer multiply-adds there are. It holds if all lie between 0.8 and 1.25, does "
    "not hold if none does, depends else."
)
TIMED = True
NETWORKS = ("plain", "residual", "mobile", "transformer")
WIDTHS = (0.75, 0.5, 0.25)
LEAST, MOST = 0.8, 1.25


def students() -> tuple[str, ...]:
    return tuple(f"distil(width={width}, epochs=1)" for width in WIDTHS)  # how well it learns is no matter here


def prepare() -> None:
    made_all((few(name), recipe) for name in NETWORKS for recipe in ("as it is", *students()))


def figures() -> Iterator[Figure]:
    for name in NETWORKS:
        models = [made(few(name), recipe) for recipe in ("as it is", *students())]
        macs = [count(model).macs for model in models]
        for engine in ENGINES:
            race = raced(few(name), [(model, engine) for model in models])
            for place, width in enumerate(WIDTHS, 1):
                over, fewer = race.speedup(place, over=0), macs[0] / macs[place]
                said = f"{over.value:.2f} times as fast, {fewer:.2f} times fewer multiply-adds"
                found = times(f"{name}, width {width}, {engine}", race, place, 0, said)
                yield Figure(found.of, over.value / fewer, over.low / fewer, over.high / fewer, "times", said)


def verdict(found: Sequence[Figure]) -> Verdict:
    def level(f: Figure) -> bool:
        return LEAST <= f.value <= MOST  # type: ignore[operator]

    return judged(found, level, lambda f: not level(f))
