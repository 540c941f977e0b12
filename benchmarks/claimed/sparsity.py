"""Weights that are zero bring nothing on a CPU."""

from collections.abc import Iterator, Sequence

from claimed import ENGINES, Figure, Verdict, few, judged, made_all, times
from made import made
from shelf import raced

CLAIM = "Unstructured sparsity brings nothing on a CPU"
RULE = (
    "Eight and nine of ten weights are zero, and 2 of 4; each file over the original on the same engine, one thread. "
    "It holds if no figure is 1.1 or more, does not hold if all are with their whole interval, depends else."
)
TIMED = True
NETWORKS = ("plain", "residual", "transformer")
RECIPES = ("sparsify(0.8)", "sparsify(0.9)", "sparsify(pattern=2:4)")
FASTER = 1.1


def prepare() -> None:
    made_all((few(name), recipe) for name in NETWORKS for recipe in ("as it is", *RECIPES))


def figures() -> Iterator[Figure]:
    for name in NETWORKS:
        for engine in ENGINES:
            race = raced(few(name), [(made(few(name), r), engine) for r in ("as it is", *RECIPES)])
            for place, recipe in enumerate(RECIPES, 1):
                yield times(f"{name}, {recipe}, {engine}", race, place, 0)


def verdict(found: Sequence[Figure]) -> Verdict:
    return judged(found, lambda f: f.value < FASTER, lambda f: f.low >= FASTER)  # type: ignore[operator]
