"""What a technique gives depends on the network and on the hardware."""

from collections.abc import Iterator, Sequence
from typing import Any

from claimed import ENGINES, Figure, Verdict, few, judged, made_all, refusal
from hasten.recipe import Recipe
from hasten.search.evidence import dependence
from made import made
from shelf import SETTINGS, raced

CLAIM = "What a technique gives depends on the network and on the hardware"
RULE = (
    "The mild setting of each technique that makes one file for the same input (those of benchmarks/shelf.py, distil, "
    "and the graph passes), on four networks and two engines, one thread, judged by the same evidence as "
    "in `hasten compare`: speedups that are 1.2 times apart and whose intervals do not meet, or a network that it "
    "cannot be applied to. It holds if that is so of every technique in both ways, does not hold if of none in either, "
    "depends else. The hardware is two engines on one processor: what another processor gives is not known here."
)
TIMED = True
NETWORKS = ("plain", "residual", "mobile", "transformer")
FURTHER = ("quantize(method=placed)", "half", "simplify")


def mild() -> tuple[str, ...]:
    """The first setting of each technique on the shelf, trained at a glance; and the graph passes."""
    first = {Recipe.parse(s.format(e=1)).steps[0].__class__: s.format(e=1) for s in reversed(SETTINGS)}
    return (*reversed(first.values()), "distil(epochs=1)", *FURTHER)


def prepare() -> None:
    made_all((few(name), recipe) for name in NETWORKS for recipe in ("as it is", *mild()))


def figures() -> Iterator[Figure]:
    rows: dict[str, list[dict[str, Any]]] = {}
    glances = []
    for name in NETWORKS:
        reasons = {recipe: refusal(few(name), recipe) for recipe in mild()}
        able = [recipe for recipe, reason in reasons.items() if not reason]
        models = [made(few(name), r) for r in ("as it is", *able)]
        speedups: dict[str, dict[str, Any]] = {recipe: {} for recipe in able}
        for engine in ENGINES:
            race = raced(few(name), [(model, engine) for model in models])
            for place, recipe in enumerate(able, 1):
                over = race.speedup(place, over=0)
                speedups[recipe][engine] = {"value": over.value, "ci95": [over.low, over.high]}
        for recipe in mild():
            glances.append({
                "network": name, "technique": technique(recipe), "recipe": recipe, "untouched": [],
                "reason": reasons[recipe], "speedups": speedups.get(recipe, {}),
            })  # fmt: skip
            trials = [{"engine": e, "speedups": {e: s}} for e, s in speedups.get(recipe, {}).items()]
            row = {"technique": technique(recipe), "role": "alone", "recipe": f"{recipe} on {name}", "trials": trials}
            rows.setdefault(recipe, []).append(row)
    for found in dependence([row for same in rows.values() for row in same], glances):
        for way in ("architecture", "hardware"):
            depends = found[way]["depends"]
            value = None if depends is None else float(depends)
            yield Figure(f"{found['technique']}, {way}", value, value, value, "yes", found[way]["said"])


def technique(recipe: str) -> str:
    return recipe.partition("(")[0]


def verdict(found: Sequence[Figure]) -> Verdict:
    return judged(found, lambda f: f.value == 1, lambda f: f.value == 0)
