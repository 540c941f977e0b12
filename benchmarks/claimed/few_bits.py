"""Below 8 bits accuracy falls."""

from collections.abc import Iterator, Sequence

from claimed import ZOO, Figure, Verdict, made_all, network, points
from claimed._rounded import rounded
from made import made, right

CLAIM = "Below 8 bits accuracy falls"
RULE = (
    "Weights alone are rounded to the nearest of so many bits, a scale for each output channel, without training. It "
    "holds if every network loses less than 0.5 point at 8 bits, and surely more than 0.5 at 4; does not hold if none "
    "loses so much at 4, nor at 3; depends else. At 2 bits weights are -1, 0 and 1 times a scale."
)
TIMED = False
BITS = (8, 6, 4, 3, 2)
LOSES = 0.5


def prepare() -> None:
    made_all((network(name), "simplify") for name in ZOO)


def figures() -> Iterator[Figure]:
    for name in ZOO:
        task, model = network(name), made(network(name), "simplify")
        before = right(task, model)
        for bits in BITS:
            yield points(f"{name}, {bits} bits", before, right(task, rounded(model, bits)))


def verdict(found: Sequence[Figure]) -> Verdict:
    at = {bits: [f for f in found if f.of.endswith(f", {bits} bits")] for bits in BITS}
    if all(f.value < LOSES for f in at[8]) and all(f.low > LOSES for f in at[4]):  # type: ignore[operator]
        return "holds"
    return "does not hold" if all(f.low <= LOSES for f in at[4] + at[3]) else "depends"  # type: ignore[operator]
