"""Claims on these techniques, one file each: what is said, the rule by which it is judged, and the figures.

A file has CLAIM and RULE, texts; TIMED, whether it needs a quiet machine; `prepare()`, which trains and makes files
that are kept; `figures()`, which measures; `verdict(figures)`, which knows nothing but the figures. The rules were
written before the figures were seen.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np

from contest import upper_drop
from hasten.errors import NotApplicable
from hasten.measure.latency import Race
from hasten.task import Task
from made import example, made, right

Verdict = Literal["holds", "does not hold", "depends"]
ENGINES = ("onnxruntime", "openvino")
IMAGES = ("plain", "residual", "mobile", "transformer", "recurrent")  # networks of the zoo with the same test data
ZOO = (*IMAGES, "tones")
FEW = 25_600  # samples of an epoch in these trainings: half of what there is


@dataclass(frozen=True)
class Figure:
    """One measurement, with its 95 % interval.

    Attributes:
        of: the network, and what was done to it.
        value, low, high: None where there is nothing to tell.
        unit: times as fast; points of top-1, on the test data, sample by sample; or yes (1) and no (0).
        said: what stands behind it.
    """

    of: str
    value: float | None
    low: float | None
    high: float | None
    unit: Literal["times", "points", "yes"]
    said: str = ""


@cache
def network(name: str) -> Task:
    """A network of the zoo, or the fashion net."""
    return example("fashion/task.py" if name == "fashion" else f"zoo/{name}.py")


@cache
def few(name: str) -> Task:
    """The same with little to train on; what is made of it has a name of its own."""
    whole = network(name)
    return replace(whole, name=f"{name}-few", at_most={"train": FEW})


def points(of: str, before: np.ndarray, after: np.ndarray, said: str = "") -> Figure:
    """The drop from rows `before` to rows `after` [N], in points."""
    lost, most = upper_drop(before, after, None)
    return Figure(of, 100 * lost, -100 * upper_drop(after, before, None)[1], 100 * most, "points", said)


def times(of: str, race: Race, place: int, over: int, said: str = "") -> Figure:
    """How many times as fast an entrant is."""
    found = race.speedup(place, over=over)
    return Figure(of, found.value, found.low, found.high, "times", said)


def fastest(race: Race, places: Sequence[int]) -> int:
    """The entrant among `places` with the smallest median."""
    return min(places, key=lambda i: race.latency(i).p50_ms)


def answers(task: Task, recipe: str, engine: str = "onnxruntime") -> np.ndarray:
    """1.0 for each test sample [N] that the network tells after `recipe`."""
    return right(task, made(task, recipe), engine)


def judged(found: Sequence[Figure], good: Callable[[Figure], bool], bad: Callable[[Figure], bool]) -> Verdict:
    """Holds where all are good, does not hold where all are bad, depends else."""
    told = [f for f in found if f.value is not None]
    if told and all(good(f) for f in told):
        return "holds"
    return "does not hold" if all(bad(f) for f in told) else "depends"


def made_all(pairs: Iterator[tuple[Task, str]]) -> None:
    """Make what is not there yet, as far as it can be made."""
    for task, recipe in pairs:
        refusal(task, recipe)


def refusal(task: Task, recipe: str) -> str:
    """Why the recipe has nothing to do on the network; empty where it has, and the file is then made."""
    try:
        made(task, recipe)
    except NotApplicable as fault:
        return str(fault)[:200]
    return ""
