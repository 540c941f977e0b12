"""Techniques together beat each alone."""

from collections.abc import Iterator, Sequence

from claimed import (
    ENGINES,
    Figure,
    Verdict,
    answers,
    fastest,
    few,
    judged,
    made_all,
    network,
    points,
    refusal,
    times,
)
from hasten.task import Task
from made import made
from shelf import raced

CLAIM = "All of them together beat each alone"
RULE = (
    "Files that lose at most a point on test, each on its fastest engine, one thread: the fastest that joins "
    "techniques over the fastest of one technique. It holds if that is surely above 1 on every network, does not hold "
    "if nowhere, depends else; where no joined file loses so little, it is not. The zoo learns for two epochs on half "
    "of its data; the fashion net, which learns for eight on all of it, joined when the zoo's figures had been seen."
)
TIMED = True
NETWORKS = ("plain", "residual", "mobile", "transformer", "fashion")
PLACED = tuple(f"quantize(method=placed, engine={engine})" for engine in ENGINES)
QUICK = ("prune(0.3, epochs=2)", "factorize(0.3, epochs=2)")
LONG = ("prune(0.5, epochs=8, lr=0.002)",)  # as in benchmarks/recipes.py
DROP = 1.0


def tried(name: str) -> tuple[Task, tuple[str, ...], tuple[str, ...]]:
    """The network, recipes of one technique, and those that join several."""
    long = name == "fashion"
    smaller, placed = (LONG, ("quantize(method=placed)",)) if long else (QUICK, PLACED)
    fronts = dict.fromkeys((*smaller, " > ".join(reversed(smaller))))
    joined = tuple(f"{front} > {last}" for front in fronts for last in placed)
    return network(name) if long else few(name), (*smaller, *PLACED, "half", "simplify"), joined


def prepare() -> None:
    made_all(_needed())


def _needed() -> Iterator[tuple[Task, str]]:
    for name in NETWORKS:
        task, single, several = tried(name)
        for recipe in ("as it is", *single, *several):
            yield task, recipe


def figures() -> Iterator[Figure]:
    for name in NETWORKS:
        task, single, several = tried(name)
        before = answers(task, "as it is")
        recipes = [recipe for recipe in (*single, *several) if not refusal(task, recipe)]
        entered = [(recipe, engine) for recipe in recipes for engine in ENGINES]
        lost = {e: points("", before, answers(task, *e)).value or 0.0 for e in entered}
        able = [e for e in entered if lost[e] <= DROP]
        race = raced(task, [(made(task, recipe), engine) for recipe, engine in able])
        alone = fastest(race, [i for i, (recipe, _) in enumerate(able) if recipe in single])
        joined = [i for i, (recipe, _) in enumerate(able) if recipe in several]
        if not joined:
            yield Figure(name, 0.0, 0.0, 0.0, "times", "every joined file loses more than a point")
            continue
        best = fastest(race, joined)
        said = [f"{able[i][0]} on {able[i][1]}, drop {lost[able[i]]:+.2f}" for i in (best, alone)]
        yield times(name, race, best, alone, " over ".join(said))


def verdict(found: Sequence[Figure]) -> Verdict:
    return judged(found, lambda f: f.low > 1, lambda f: f.low <= 1)  # type: ignore[operator]
