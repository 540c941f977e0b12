"""compare: each technique alone, then together, in one table made of measurements."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hasten import files, find
from hasten.boost import check, settings_of
from hasten.engine import Engine
from hasten.errors import HastenError, UsageError
from hasten.measure.machine import conditions
from hasten.recipe import Recipe
from hasten.report.comparison import page
from hasten.report.html import require
from hasten.search.bench import Bench, failed, fastest
from hasten.search.budget import Budget, why_not
from hasten.search.evidence import dependence
from hasten.search.judge import Judge
from hasten.search.progress import Progress, Silent
from hasten.search.trial import Trial
from hasten.search.workshop import Workshop
from hasten.task import Split, Task
from hasten.technique import Technique

CONTROL = "heal"  # trains the original on: what training alone gives
TESTED = ("accuracy", "accuracy_drop", "accuracy_drop_ci95", "n_samples", "split")
Role = Literal["control", "alone", "together"]


@dataclass(frozen=True)
class Extent:
    """How long techniques train, on how much, and how much data is scored."""

    epochs: int
    at_most: Mapping[Split, int]


FULL = Extent(6, {})
QUICK = Extent(3, {"train": 25_600, "validate": 2_500})
GLANCE = Extent(1, {"train": 1_024, "calibrate": 128, "validate": 256, "test": 256})  # at the networks of a zoo


@dataclass(frozen=True)
class Row:
    """One recipe and all that was measured of it."""

    recipe: str
    role: Role
    technique: str = ""  # of those alone
    needs: tuple[str, ...] = ()
    minutes: float = 0.0  # of this machine, to make it; what another row has made is counted again
    untouched: Mapping[str, Mapping[str, str]] | None = None  # step -> layer -> why it was left as it is
    reason: str = ""  # why there is nothing to measure
    trials: tuple[Trial, ...] = ()

    def best(self, budget: Budget) -> Trial | None:
        """The fastest within the budget on validate; where none is, the one that loses least."""
        measured = [t for t in self.trials if t.status in ("kept", "rejected") and t.accuracy_drop is not None]
        within = [t for t in measured if not why_not(t, budget)]
        if within:
            return max(within, key=lambda t: t.speedup or 0.0)
        return min(measured, key=lambda t: t.accuracy_drop or 0.0, default=None)


def compare(
    task: Task,
    output: str | Path,
    *,
    quick: bool = False,
    techniques: Sequence[str] = (),
    recipes: Sequence[str] = (),
    engines: Sequence[str] = (),
    zoo: Sequence[Task] = (),
    max_drop: float = 0.01,
    resume: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Measure what each technique gives on this machine, what it costs, and on what it depends.

    Every technique is tried at the settings of its `presets`, then the better of these together. All of them are timed
    against the model as it is, on the same engine and on the fastest; what is chosen is chosen on validate, and the
    chosen engine of every row meets test once. A control trains the original on for as long, so that a gain from
    training is not taken for one from a technique.

    Args:
        task: with `validate`, and what the techniques need: `train` and `loss`, `calibrate`; `test` for one column.
        output: a folder: every trial is in it as it happens, then result.json and report.html.
        quick: fewer epochs, on fewer samples.
        techniques: names; none means all that are on this machine.
        recipes: further rows.
        engines: names; none means all that are on this machine.
        zoo: further networks: does a technique apply to each, and is it worth as much there?
        max_drop: what may be lost, in the metric's unit; the upper end of the 95 % interval.
        resume: go on with the run in `output`.

    Returns:
        The result as in spec/comparison.schema.json.

    Raises:
        InputError: data or model cannot be used, or another run is at work in `output`.
        UsageError: an unknown engine, technique or setting.
        MissingError: no engine here.
    """
    require()
    progress, output, budget = progress or Silent(), Path(output).absolute(), Budget(max_drop)
    extent = QUICK if quick else FULL
    kinds = {name: find.technique(name) for name in techniques} or find.techniques()
    own = [str(Recipe.parse(r)) for r in recipes]
    task = replace(task, at_most={**extent.at_most, **task.at_most})
    progress.stage("reading the model and its data")
    check(task)
    options = {"quick": quick, "techniques": sorted(kinds), "recipes": own, "engines": sorted(engines), "seed": seed}
    began = time.monotonic()
    with _bench(task, output, {"options": options | {"max_drop": max_drop}}, resume, seed) as bench:
        if resume and bench.shop.store.finished and bench.shop.result.is_file():
            return dict(json.loads(bench.shop.result.read_text()))
        where = conditions(seed)
        table = _Table(bench, settings_of(task, engines), budget, progress)
        control = find.technique(CONTROL)
        trains = task.train is not None and not control.missing()
        table.add(f"{CONTROL}(epochs={extent.epochs})" if trains else "", "control")
        for name, kind in kinds.items():
            for preset in _presets(kind, task, extent.epochs):
                table.add(str(preset), "alone", name)
        for recipe in dict.fromkeys([*_together(table.rows, table.baselines[0], budget), *own]):
            table.add(recipe, "together")
        tested = table.tested() if task.test is not None else {}
        glances = [g for other in zoo for g in _glance(other, kinds, output, engines, options, resume, seed, progress)]
        rows = [_row_json(row, budget, tested) for row in table.rows]
        result = {
            "format": 1,
            "task": task.name,
            "command": command,
            "metric": {"name": task.measure.name, "higher_is_better": task.measure.higher_is_better},
            "max_drop": max_drop,
            "epochs": extent.epochs,
            "samples": {part: len(task.raw(part)) for part in _parts(task)},
            "conditions": where | {"minutes": (time.monotonic() - began) / 60},
            "reference": table.reference.engine,
            "baselines": [t.to_json() for t in table.baselines],
            "rows": rows,
            "zoo": glances,
            "dependence": dependence(rows, glances),
            "verdict": _verdict(rows, table.reference, task, budget),
        }
        files.write(output / "report.html", page(result))
        files.write(bench.shop.result, json.dumps(result, indent=1, allow_nan=False))
        bench.shop.store.finish()
    return result


class _Table:
    """The rows so far, and the baselines that they are held against, which stay alive."""

    def __init__(self, bench: Bench, engines: list[Engine], budget: Budget, progress: Progress) -> None:
        self._bench, self._budget, self._progress = bench, budget, progress
        progress.stage("measuring the model as it is")
        self.baselines = bench.baselines(engines)
        onnx = [t for t in self.baselines if not bench.eager(t)]
        front = fastest(self.baselines, [t.latency_p50_ms or 0.0 for t in self.baselines])
        self.reference = self.baselines[front[-1]]  # the fastest engine at f32
        self._kinds = list(dict.fromkeys(type(e) for e in engines if e.takes == "onnx"))
        self.rows: list[Row] = []
        bench.refer(sorted(onnx, key=lambda t: t is not self.reference))

    def add(self, recipe: str, role: Role, technique: str = "") -> None:
        """Make the file and measure it on every engine; an empty recipe is no row."""
        if not recipe:
            return
        self._progress.stage(f"{recipe}")
        store, whole = self._bench.shop.store, Trial(recipe, "any engine")
        needs = {part for step in Recipe.parse(recipe).steps for part in step.needs}
        row = Row(recipe, role, technique, tuple(sorted(needs)))
        try:
            if ended := store.ended(whole):
                self.rows.append(replace(row, reason=ended.reason))
                return
            model, note = self._bench.shop.load(recipe), self._bench.shop.note(recipe)
        except HastenError as fault:
            store.end(failed(store.plan(whole), fault))
            self._progress.note(f"not made: {fault}")
            self.rows.append(replace(row, reason=str(fault)))
            return
        settings = [v for kind in self._kinds for v in kind.variants(model.quantized) if not v.fallback]
        trials = tuple(self._measured(recipe, engine) for engine in dict.fromkeys(settings))
        self.rows.append(replace(row, minutes=note["seconds"] / 60, untouched=note["untouched"], trials=trials))

    def _measured(self, recipe: str, engine: Engine) -> Trial:
        """Against the fastest engine at f32, and against itself with the model as it is."""
        same = [t for t in self.baselines if _alike(self._bench.engine(t), engine)]
        trial = self._bench.tried(
            recipe, engine, lambda t: why_not(t, self._budget), against=[self.reference, *same[:1]]
        )
        speed = f"{trial.speedup:.2f}x" if trial.speedup else trial.reason
        self._progress.note(f"{trial.engine}: {speed}")
        return trial

    def tested(self) -> dict[str, dict[str, Any]]:
        """What each row's best engine has on test, by the key of its trial; kept as it comes."""
        self._progress.stage("scoring on test")
        path = self._bench.shop.folder / "tested.json"
        found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
        original = self.baselines[0]
        for i, trial in enumerate([original, *(t for row in self.rows if (t := row.best(self._budget)))]):
            if trial.key not in found:
                with self._bench.stand(trial) as stand:
                    judged = self._bench.judge.score if i else self._bench.judge.original
                    scored = replace(trial, **judged(stand, "test", trial.key)).to_json()
                found[trial.key] = {column: scored[column] for column in TESTED}
                files.write(path, json.dumps(found))
        return found


@contextmanager
def _bench(task: Task, folder: Path, options: dict[str, Any], resume: bool, seed: int) -> Iterator[Bench]:
    with Workshop(task, folder) as shop:
        shop.begin(options, resume)
        bench = Bench(shop, Judge(shop, seed), seed)
        try:
            yield bench
        finally:
            bench.close()


def _presets(kind: type[Technique], task: Task, epochs: int) -> tuple[Technique, ...]:
    """None where the technique, or the data that it needs, is not here."""
    if kind.missing():
        return ()
    return tuple(p for p in kind.presets(task, epochs) if all(getattr(task, part) is not None for part in p.needs))


def _together(rows: Sequence[Row], original: Trial, budget: Budget) -> list[str]:
    """The better setting of each technique, in recipes: what saves multiply-adds before what only saves bits.

    Each of the former with each of the latter; then all of the former with each of the latter.
    """
    better: dict[str, tuple[Row, Trial]] = {}
    for row in rows:
        trial, known = row.best(budget), better.get(row.technique)
        if row.role == "alone" and trial and (known is None or _rank(trial, budget) > _rank(known[1], budget)):
            better[row.technique] = row, trial
    smaller, lighter = [], []
    for row, trial in better.values():
        if trial.macs and original.macs and trial.macs < original.macs:
            smaller.append(row.recipe)
        elif trial.precision == "int8":
            lighter.append(row.recipe)
    smaller.sort(key=lambda recipe: not Recipe.parse(recipe).steps[0].forgets)
    fronts = [[recipe] for recipe in smaller] + ([smaller] if len(smaller) > 1 else [])
    made = []
    for front in fronts:
        for last in lighter:
            try:
                made.append(str(Recipe.parse(" > ".join([*front, last]))))
            except UsageError:  # two that draw weights anew, say
                continue
    return made


def _rank(trial: Trial, budget: Budget) -> tuple[bool, float]:
    """Within the budget by speed; outside it by what is lost."""
    within = not why_not(trial, budget)
    return within, (trial.speedup or 0.0) if within else -(trial.accuracy_drop or 0.0)


def _glance(
    task: Task,
    kinds: Mapping[str, type[Technique]],
    output: Path,
    engines: Sequence[str],
    options: Mapping[str, Any],
    resume: bool,
    seed: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """The mild setting of each technique on another network: whether it applies, and how much faster it is."""
    task = replace(task, at_most={**GLANCE.at_most, **task.at_most})
    found = []
    with _bench(task, output / "zoo" / task.name, {"options": dict(options)}, resume, seed) as bench:
        table = _Table(bench, _plainest(settings_of(task, engines)), Budget(), progress)
        for name, kind in kinds.items():
            for preset in _presets(kind, task, GLANCE.epochs)[:1]:
                table.add(str(preset), "alone", name)
        bench.shop.store.finish()
    for row in table.rows:
        timed = [t.to_json() for t in row.trials if t.speedups]
        left = [name for layers in (row.untouched or {}).values() for name in layers]
        found.append({
            "network": task.name, "technique": row.technique, "recipe": row.recipe, "untouched": left,
            "reason": row.reason or next((t.reason for t in row.trials if t.status == "failed"), ""),
            "speedups": {t["engine"].partition("(")[0]: list(t["speedups"].values())[-1] for t in timed},
        })  # fmt: skip
    return found


def _plainest(engines: Sequence[Engine]) -> list[Engine]:
    """Eager torch, and each other engine at f32."""
    return [e for e in engines if e.takes == "torch" or e.precision == "f32"]


def _alike(a: Engine, b: Engine) -> bool:
    return type(a) is type(b) and a.precision == b.precision


def _parts(task: Task) -> list[Split]:
    parts: tuple[Split, ...] = ("train", "calibrate", "validate", "test")
    return [part for part in parts if getattr(task, part) is not None]


def _row_json(row: Row, budget: Budget, tested: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    best = row.best(budget)
    return {
        "recipe": row.recipe,
        "role": row.role,
        "technique": row.technique,
        "needs": list(row.needs),
        "minutes": row.minutes,
        "untouched": {step: dict(layers) for step, layers in (row.untouched or {}).items()},
        "reason": row.reason,
        "trials": [t.to_json() for t in row.trials],
        "best": row.trials.index(best) if best else None,
        "test": dict(tested[best.key]) if best and best.key in tested else None,
    }


def _verdict(rows: Sequence[Mapping[str, Any]], reference: Trial, task: Task, budget: Budget) -> str:
    able = [(row, row["trials"][row["best"]]) for row in rows if row["best"] is not None]
    within = [(row, trial) for row, trial in able if trial["status"] == "kept"]
    if not within:
        return f"no recipe stays within a drop of {budget.max_drop:g} on validate"
    row, trial = max(within, key=lambda pair: pair[1]["speedup"] or 0.0)
    lost = row["test"] or trial
    low, high = lost["accuracy_drop_ci95"] or (float("-inf"), float("inf"))
    return (
        f"{row['recipe']} on {trial['engine']}: {trial['speedup']:.2f}x as fast as the model as it is on "
        f"{reference.engine}, {task.measure.name} {lost['accuracy']:.4f}, drop {lost['accuracy_drop']:+.4f} "
        f"[{low:+.4f}, {high:+.4f}] on {lost['split']}"
    )
