"""INT8 makes a network two to four times as fast."""

from collections.abc import Iterator, Sequence

from claimed import ENGINES, ZOO, Figure, Verdict, fastest, judged, made_all, network, times
from hasten.task import Task
from made import made
from shelf import raced

CLAIM = "INT8 makes a network two to four times as fast"
RULE = (
    "The fastest pair of INT8 file and engine over the fastest engine at f32, one thread, one sample a call. It holds "
    "if the interval of every network lies within 2 to 4 or reaches into it, does not hold if none does, depends else."
)
TIMED = True
NETWORKS = (*ZOO, "fashion")
LEAST, MOST = 2.0, 4.0


def recipes() -> tuple[str, ...]:
    return tuple(f"quantize(method=placed, engine={engine})" for engine in ENGINES)


def prepare() -> None:
    made_all(_needed())


def _needed() -> Iterator[tuple[Task, str]]:
    for name in NETWORKS:
        for recipe in ("as it is", *recipes()):
            yield network(name), recipe


def figures() -> Iterator[Figure]:
    for name in NETWORKS:
        task = network(name)
        entered = [(made(task, r), e) for r in ("as it is", *recipes()) for e in ENGINES]
        race = raced(task, entered)
        floats, ours = fastest(race, range(len(ENGINES))), fastest(race, range(len(ENGINES), len(entered)))
        said = f"{recipes()[ours // len(ENGINES) - 1]} on {entered[ours][1]}, over f32 on {entered[floats][1]}"
        yield times(name, race, ours, floats, said)


def verdict(found: Sequence[Figure]) -> Verdict:
    def within(f: Figure) -> bool:
        return f.high >= LEAST and f.low <= MOST  # type: ignore[operator]

    return judged(found, within, lambda f: not within(f))
