"""Several bundles become one that knows more than the best of them: a weighted mean, in the form that is fastest."""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

from hasten.bundle import Bundle, writable
from hasten.data import Data
from hasten.errors import NotApplicable
from hasten.measure.latency import ROUNDS, Race, Speedup, race
from hasten.measure.lock import quiet
from hasten.measure.machine import conditions
from hasten.measure.stand import Entrant, Stand
from hasten.offline.ensemble.desk import Desk, ends
from hasten.offline.ensemble.forms import CASCADE, STAGES, Form
from hasten.offline.ensemble.members import opened
from hasten.offline.ensemble.second_look import looked
from hasten.search.progress import Progress, Silent
from hasten.task import Task

Layout = Literal["merged", "stages"]
LAUNCHES = 6  # of the race: the fewest that have an interval
TIMED = 1000  # samples of validate, at even distances, that calls are made of


@dataclass(frozen=True)
class Choice:
    """What is shipped.

    Attributes:
        max_drop: what a cascade, or one file for all, may lose against the ensemble on validate, in the metric's unit.
        cascade: the cheapest member answers where it is sure enough, and the ensemble elsewhere.
        layout: `stages`, a file for each member; `merged`, one for all; None: the one that is faster.
        tta: views, of which those that help on validate are told as a row of their own; see views.view.parse.
    """

    max_drop: float = 0.001
    cascade: bool = False
    layout: Layout | None = None
    tta: str = ""


def ensemble(
    bundles: Sequence[str | Path],
    task: Task,
    output: str | Path,
    choice: Choice | None = None,
    *,
    launches: int = LAUNCHES,
    seed: int = 0,
    progress: Progress | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Average bundles of one task, with weights fitted on validate, and ship the fastest form of that as a bundle.

    It pays where nobody waits for a single answer, or as a teacher: see Task.teachers. Members that were trained alike
    from other seeds gain tenths of a point to a point of accuracy (Lakshminarayanan et al. 2017, arXiv:1612.01474).

    Args:
        bundles: two or more, whose pipelines are the same.
        task: what they were made for; `validate` chooses, `test` gives the figures where there is any.
        output: folder of the bundle.
        launches: of the race; fewer than 6 have no interval.

    Returns:
        As spec/ensemble.schema.json; `bundle` is None when the answer is no, and `verdict` says why.

    Raises:
        InputError: bundles that do not go together, data that cannot tell what is right, or `output` is no bundle.
        NotApplicable: the form that was asked for cannot be made.
        MissingError, Unmet: as Bundle.load.
    """
    choice, progress, output = choice or Choice(), progress or Silent(), writable(output)
    with opened(bundles) as members, TemporaryDirectory(prefix="hasten-") as scratch:
        desk = Desk(members, task, Path(scratch), choice.max_drop, seed)
        progress.stage("asking the members")
        mean, weights = desk.averaged()
        progress.stage("making a stage for each member, one file for all, and a cascade")
        made, reasons = desk.forms(mean, choice.layout)
        if choice.cascade and made[-1].name != CASCADE:
            raise NotApplicable(reasons[CASCADE], "leave --cascade away")
        progress.stage(f"racing {', '.join(form.name for form in (*desk.own, *made))}")
        raced = Raced.of([*desk.own, *made], desk, launches)
        whole = min((f for f in made if f.name != CASCADE), key=raced.typical_ms)
        shipped = made[-1] if choice.cascade else whole
        rows = [raced.row(form, desk) for form in raced.forms]
        row = next(row for row in rows if row["name"] == shipped.name)
        if choice.tta:
            progress.stage(f"looking again: {choice.tta}")
            rows += looked(desk, shipped, mean.activation, row, choice.tta, reasons)
        result: dict[str, Any] = {
            "format": 1,
            "task": task.name,
            "command": command,
            "metric": {"name": task.measure.name, "higher_is_better": task.measure.higher_is_better},
            "max_drop": choice.max_drop,
            "members": [m.told(w) for m, w in zip(members, weights, strict=True)],
            "best": desk.best.name,
            "activation": mean.activation,
            "shipped": shipped.name,
            "over_stages": raced.over_stages(whole),
            "rows": rows,
            "reasons": reasons,
            "conditions": conditions(seed),
        }
        if desk.against(shipped, desk.best, "validate").value >= 0:
            return result | {"bundle": None, "verdict": f"{desk.best.name} alone is as good on validate"}
        progress.stage("writing the bundle")
        _ship(output, shipped, desk, result | {"row": row})
        return result | {"bundle": str(output), "verdict": _verdict(row, desk)}


def _ship(output: Path, form: Form, desk: Desk, result: Mapping[str, Any]) -> None:
    """A form as a bundle that says what it is made of."""
    told = {key: result[key] for key in ("members", "best", "activation", "over_stages")}
    parts = [f"{one['weight']:.3g} x {one['bundle']}" for one in result["members"] if one["weight"]]
    Bundle.write(
        output,
        stages=form.stages,
        pipeline=desk.members[0].bundle.pipeline,
        recipe=f"mean of {', '.join(parts)}",
        measurements=result["row"] | told,
        conditions=result["conditions"],
        cases=desk.task.raw("validate"),
    ).close()


@dataclass(frozen=True)
class Raced:
    """Forms that were timed against each other."""

    forms: Sequence[Form]
    race: Race
    ways: Sequence[dict[str, float]]

    @classmethod
    def of(cls, forms: Sequence[Form], desk: Desk, launches: int) -> Self:
        feed = desk.scratch / "feed"
        Data(desk.part("validate").spread(TIMED).inputs).save(feed)
        with quiet(), ExitStack() as stack:
            stands = [stack.enter_context(Stand(Entrant.of(f.stages, f.signature), feed)) for f in forms]
            found = race(stands, max(ROUNDS, launches), launches, desk.seed)
            return cls(forms, found, [stand.ways() for stand in stands])

    def typical_ms(self, form: Form) -> float:
        return self.race.latency(self._place(form.name)).typical_ms

    def over_stages(self, form: Form) -> dict[str, Any] | None:
        """How many times as fast as a stage for each member; None where that was not timed."""
        if STAGES not in {f.name for f in self.forms}:
            return None
        return _said(self.race.speedup(self._place(form.name), self._place(STAGES)))

    def row(self, form: Form, desk: Desk) -> dict[str, Any]:
        """What it takes, and what it gains over the member that is best on validate."""
        place, part = self._place(form.name), desk.last
        latency, lost = self.race.latency(place), desk.against(form, desk.best, part)
        return {
            "name": form.name,
            "engine": form.engines,
            "split": part,
            "accuracy": float(desk.task.measure.total(desk.scored(form, part))),
            "gain": -lost.value,
            "gain_ci95": ends(-lost.high, -lost.low),
            "latency_p50_ms": latency.p50_ms,
            "latency_mean_ms": latency.mean_ms,
            "early_share": self.ways[place].get("early_share"),
            "latency_worst_ms": self.ways[place].get("latency_worst_ms"),
            "over_best": _said(self.race.speedup(place, self._place(desk.best.name))),
            "size_mb": form.size_mb,
            "macs": form.macs(self.ways[place].get("early_share", 0.0)),
        }

    def _place(self, name: str) -> int:
        return next(i for i, form in enumerate(self.forms) if form.name == name)


def _said(speedup: Speedup) -> dict[str, Any]:
    """How many times as fast, with its interval, where there were launches enough for one."""
    return {"value": speedup.value, "ci95": ends(speedup.low, speedup.high)}


def _verdict(row: dict[str, Any], desk: Desk) -> str:
    low, high = row["gain_ci95"] or (-math.inf, math.inf)
    sure = "" if low > 0 else ", which may be chance"
    return (
        f"{row['name']}: {desk.task.measure.name} {row['accuracy']:.4f} on {row['split']}, {row['gain']:+.4f} "
        f"[{low:+.4f}, {high:+.4f}] over {desk.best.name}{sure}, for {1 / row['over_best']['value']:.2f} times its time"
    )
