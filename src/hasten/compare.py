"""compare: each technique alone, then together, in one table made of measurements."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hasten import files, find
from hasten.boost import check, settings_of
from hasten.engine import Engine
from hasten.errors import HastenError, UsageError
from hasten.measure.machine import conditions
from hasten.model import TorchModel
from hasten.recipe import Recipe
from hasten.report.comparison import page
from hasten.report.html import require
from hasten.search.bench import Bench
from hasten.search.budget import Budget
from hasten.search.evidence import dependence, over_itself
from hasten.search.judge import Judge
from hasten.search.progress import Progress, Silent
from hasten.search.rows import Row, Rows, together
from hasten.search.trial import Trial
from hasten.search.workshop import Workshop
from hasten.task import Split, Task
from hasten.technique import Technique

CONTROL = "heal"  # trains the original on: what training alone gives


@dataclass(frozen=True)
class Extent:
    """How long techniques train, on how much, and how much data is scored."""

    epochs: int
    at_most: Mapping[Split, int]


FULL = Extent(6, {})
QUICK = Extent(3, {"train": 25_600, "validate": 2_500})
SHARED, FEWEST = 180_000, 4_096  # samples an epoch of all that trains in a quick comparison, together; and of each
GLANCE = Extent(1, {"train": 1_024, "calibrate": 128, "validate": 256, "test": 256})  # at the networks of a zoo


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
    chosen engine of every row meets test once. A control trains the original on for as many epochs as techniques have,
    so that a gain from training is not taken for one from a technique. What cannot be tried is a row with the reason.

    Args:
        task: with `validate`, and what the techniques need: `train` and `loss`, `calibrate`; `test` for one column.
        output: a folder: every trial is in it as it happens, then result.json and report.html.
        quick: fewer epochs, on fewer samples.
        techniques: names; none means all that are on this machine.
        recipes: further rows.
        engines: names; none means all that are on this machine.
        zoo: further networks, each of another name: does a technique apply to each, and is it worth as much there?
        max_drop: what may be lost, in the metric's unit; the upper end of the 95 % interval.
        resume: go on with the run in `output`.

    Returns:
        The result as in spec/comparison.schema.json.

    Raises:
        InputError: data or model cannot be used, or another run is at work in `output`.
        UsageError: an unknown engine, technique or setting; a technique that was named and cannot be tried here; two
            networks of one name.
        MissingError: no engine here.
    """
    require()
    progress, output, budget = progress or Silent(), Path(output).absolute(), Budget(max_drop)
    kinds = {name: find.technique(name) for name in techniques} or find.techniques()
    own = [str(Recipe.parse(r)) for r in recipes]
    extent = _quick(kinds, task) if quick else FULL
    task = replace(task, at_most={**extent.at_most, **task.at_most})
    progress.stage("reading the model and its data")
    check(task)
    for name in techniques:
        _require(kinds[name], name, task)
    for other in zoo:
        check(other)
    digests = {other.name: other.original.digest() for other in zoo}
    if len(digests) < len(zoo):
        raise UsageError("two networks of the zoo have the same name", "give each task a name of its own")
    options: dict[str, Any] = {
        "quick": quick,
        "techniques": sorted(kinds),
        "recipes": own,
        "engines": sorted(engines),
        "seed": seed,
    }
    options["zoo"] = digests
    began = time.monotonic()
    with _bench(task, output, {"options": options | {"max_drop": max_drop}}, resume, seed) as bench:
        if resume and bench.shop.store.finished and bench.shop.result.is_file():
            return dict(json.loads(bench.shop.result.read_text()))
        where = conditions(seed)
        table = Rows(bench, settings_of(task, engines), budget, progress)
        control = Recipe.parse(f"{CONTROL}(epochs={extent.epochs})").steps[0]
        table.add(str(control), "control", reason=_lacks(control, task))
        for name, kind in kinds.items():
            presets = kind.presets(task, extent.epochs)
            able = [p for p in presets if not _lacks(p, task)]
            for preset in able or presets[:1]:
                table.add(str(preset), "alone", name, _lacks(preset, task))
        for recipe in dict.fromkeys([*together(table.rows, table.baselines[0], budget), *own]):
            table.add(recipe, "together")
        tested = table.tested() if task.test is not None else {}
        final = table.final()
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
            "final": final,
            "verdict": _verdict(rows, final, table.reference, task, budget),
        }
        files.write(output / "report.html", page(result))
        files.write(bench.shop.result, json.dumps(result, indent=1, allow_nan=False))
        bench.shop.store.finish()
    return result


def _quick(kinds: Mapping[str, type[Technique]], task: Task) -> Extent:
    """The more techniques train, the fewer samples each has: what is quick stays so when a file is added."""
    tried = [preset for kind in kinds.values() for preset in kind.presets(task, QUICK.epochs)]
    training = sum("train" in preset.needs for preset in tried if not _lacks(preset, task))
    samples = max(FEWEST, min(QUICK.at_most["train"], SHARED // max(1, training)))
    return replace(QUICK, at_most={**QUICK.at_most, "train": samples})


@contextmanager
def _bench(task: Task, folder: Path, options: dict[str, Any], resume: bool, seed: int) -> Iterator[Bench]:
    with Workshop(task, folder) as shop:
        shop.begin(options, resume)
        bench = Bench(shop, Judge(shop, seed), seed)
        try:
            yield bench
        finally:
            bench.close()


def _lacks(step: Technique, task: Task) -> str:
    """Why a technique cannot be tried on this task at all; else empty."""
    if reason := step.missing():
        return reason
    if step.takes == "torch" and not isinstance(task.original, TorchModel):
        return "it works on a torch model, and this one is an ONNX file"
    absent = [part for part in sorted(step.needs) if getattr(task, part) is None]
    return f"it needs {' and '.join(absent)}, which the task does not give" if absent else ""


def _require(kind: type[Technique], name: str, task: Task) -> None:
    """
    Raises:
        UsageError: it was asked for, and cannot be tried.
    """
    presets = kind.presets(task, 1)
    if not presets:
        raise UsageError(f"{name} has no settings to compare it by", f"name some: --recipe '{name}(...)'")
    if reason := _lacks(presets[0], task):
        raise UsageError(f"{name} cannot be tried on {task.name}: {reason}", "leave it away, or give what it needs")


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
    try:
        with _bench(task, output / "zoo" / task.name, {"options": dict(options)}, resume, seed) as bench:
            table = Rows(bench, _plainest(settings_of(task, engines)), Budget(), progress)
            for name, kind in kinds.items():
                for preset in kind.presets(task, GLANCE.epochs)[:1]:
                    if not _lacks(preset, task):  # which says nothing of the network
                        table.add(str(preset), "alone", name)
            bench.shop.store.finish()
    except HastenError as fault:
        progress.note(f"{task.name} is left out: {fault}")
        return [_seen(task, Row("", "alone", reason=str(fault)))]
    return [_seen(task, row) for row in table.rows]


def _seen(task: Task, row: Row) -> dict[str, Any]:
    timed = [t.to_json() for t in row.trials if t.speedups]
    failed = next((t.reason for t in row.trials if t.status == "failed"), "")
    return {
        "network": task.name,
        "technique": row.technique,
        "recipe": row.recipe,
        "untouched": [name for layers in (row.untouched or {}).values() for name in layers],
        "reason": row.reason or ("" if timed else failed),
        "speedups": {t["engine"].partition("(")[0]: own for t in timed if (own := over_itself(t))},
    }


def _plainest(engines: Sequence[Engine]) -> list[Engine]:
    """Eager torch, and each other engine at f32."""
    return [e for e in engines if e.takes == "torch" or e.precision == "f32"]


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
        "said": list(row.said),
        "trials": [t.to_json() for t in row.trials],
        "best": row.trials.index(best) if best else None,
        "test": dict(tested[best.key]) if best and best.key in tested else None,
    }


def _verdict(
    rows: Sequence[Mapping[str, Any]], final: Mapping[str, Any] | None, reference: Trial, task: Task, budget: Budget
) -> str:
    if final is None:
        return f"no recipe stays within a drop of {budget.max_drop:g} on validate"
    row = next(row for row in rows if row["recipe"] == final["recipe"])
    lost, (slowest, fastest) = row["test"] or row["trials"][row["best"]], final["speedup_ci95"]
    low, high = lost["accuracy_drop_ci95"] or (float("-inf"), float("inf"))
    return (
        f"{final['recipe']} on {final['engine']}: {final['speedup']:.2f} [{slowest:.2f}, {fastest:.2f}] times as fast "
        f"as the model as it is on {reference.engine}, {task.measure.name} {lost['accuracy']:.4f}, drop "
        f"{lost['accuracy_drop']:+.4f} [{low:+.4f}, {high:+.4f}] on {lost['split']}"
    )
