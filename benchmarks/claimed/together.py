"""Techniques together beat each alone."""

from collections.abc import Iterator, Sequence

from claimed import ENGINES, Figure, Verdict, answers, fastest, few, judged, made_all, points, refusal, times
from made import made
from shelf import raced

CLAIM = "All of them together beat each alone"
RULE = (
    "Files that lose at most a point on test, each on its fastest engine, one thread: the fastest that joins "
    "techniques over the fastest of one technique. It holds if that is surely above 1 on every network, does not hold "
    "if nowhere, depends else; where no joined file loses so little, it is not."
)
TIMED = True
NETWORKS = ("plain", "residual", "mobile", "transformer")
PLACED = tuple(f"quantize(method=placed, engine={engine})" for engine in ENGINES)
SMALLER = ("prune(0.3, epochs=2)", "factorize(0.3, epochs=2)")
ALONE = (*SMALLER, *PLACED, "half", "simplify")
TOGETHER = tuple(f"{front} > {last}" for front in (*SMALLER, " > ".join(reversed(SMALLER))) for last in PLACED)
DROP = 1.0


def prepare() -> None:
    made_all((few(name), recipe) for name in NETWORKS for recipe in ("as it is", *ALONE, *TOGETHER))


def figures() -> Iterator[Figure]:
    for name in NETWORKS:
        task = few(name)
        before = answers(task, "as it is")
        recipes = [recipe for recipe in (*ALONE, *TOGETHER) if not refusal(task, recipe)]
        entered = [(recipe, engine) for recipe in recipes for engine in ENGINES]
        lost = {e: points("", before, answers(task, *e)).value or 0.0 for e in entered}
        able = [e for e in entered if lost[e] <= DROP]
        race = raced(task, [(made(task, recipe), engine) for recipe, engine in able])
        alone = fastest(race, [i for i, (recipe, _) in enumerate(able) if recipe in ALONE])
        joined = [i for i, (recipe, _) in enumerate(able) if recipe in TOGETHER]
        if not joined:
            yield Figure(name, 0.0, 0.0, 0.0, "times", "every joined file loses more than a point")
            continue
        best = fastest(race, joined)
        said = [f"{able[i][0]} on {able[i][1]}, drop {lost[able[i]]:+.2f}" for i in (best, alone)]
        yield times(name, race, best, alone, " over ".join(said))


def verdict(found: Sequence[Figure]) -> Verdict:
    return judged(found, lambda f: f.low > 1, lambda f: f.low <= 1)  # type: ignore[operator]
