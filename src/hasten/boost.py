"""boost: measure the baselines, try what could be faster, and ship the fastest that stays within the budget."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from hasten import exits, files, find
from hasten.answer import Answer
from hasten.bundle import Bundle, is_bundle, writable
from hasten.engine import Engine
from hasten.errors import HastenError, InputError, MissingError
from hasten.golden import CASES, Undecided
from hasten.graph import split
from hasten.measure.machine import conditions
from hasten.model import OnnxModel
from hasten.recipe import Recipe
from hasten.report.html import page, require
from hasten.search.bench import AS_IT_IS, Bench, fastest, finalists_of
from hasten.search.budget import Budget, outrun, praise, refusal, why_not
from hasten.search.judge import Judge
from hasten.search.progress import Progress, Silent
from hasten.search.trial import Trial
from hasten.search.workshop import Workshop
from hasten.task import Split, Task

LATE = "the time given was used up before its turn"
SPARED = "not needed: the engine's other settings stay within the budget"
_CHOOSES = {"top1": 1, "agreement": 1, "top5": 5}  # metrics of a choice between classes: best classes that answer
RESERVE_S, RESERVE = 60.0, 0.2  # of --time, kept for the final race


def boost(
    task: Task,
    output: str | Path,
    budget: Budget | None = None,
    *,
    engines: Sequence[str] = (),
    recipes: Sequence[str] = (),
    resume: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Make the task's model fast on this machine.

    Args:
        task: with `calibrate` data for INT8, `validate` to choose, `test` for the final figure.
        output: folder of the bundle; `<output>.trials` keeps every trial and can be resumed.
        engines: names; none means all that are on this machine.
        recipes: further recipes to try, beside those that the graph passes propose.
        resume: go on with the run in `<output>.trials`.

    Returns:
        The result as in spec/result.schema.json; `winner` is None when the answer is no, and `verdict` says why.

    Raises:
        InputError: data or model cannot be used, `output` is not a bundle, or another run is at work there.
        UsageError: an unknown engine, technique or setting.
        MissingError: no engine here.
    """
    budget, progress, output = budget or Budget(), progress or Silent(), writable(output)
    parsed = [str(Recipe.parse(r)) for r in recipes]
    require()
    progress.stage("reading the model and its data")
    check(task)
    settings = settings_of(task, engines)
    options = {
        "options": {**asdict(replace(budget, time_s=0)), "engines": sorted(engines), "recipes": parsed, "seed": seed}
    }
    with Workshop(task, output.with_name(f"{output.name}.trials")) as shop:
        shop.begin(options, resume)
        if resume and shop.store.finished and is_bundle(output) and shop.result.is_file():
            return dict(json.loads(shop.result.read_text()))
        where, bench = conditions(seed), Bench(shop, Judge(shop, seed), seed)
        try:
            result = _search(bench, settings, parsed, budget, progress)
        finally:
            bench.close()
        result |= {
            "format": 1,
            "task": task.name,
            "command": command,
            "max_drop": budget.max_drop,
            "conditions": where,
            "metric": {"name": task.measure.name, "higher_is_better": task.measure.higher_is_better},
        }
        if result["winner"]:
            progress.stage("writing the bundle")
            files.write(shop.result, json.dumps(result, indent=1, allow_nan=False))  # what is measured is not lost
            result["verdict"] += _ship(bench, Trial.from_json(result["winner"]), result, output)
        files.write(shop.result, json.dumps(result, indent=1, allow_nan=False))
        shop.store.finish()
    return result


def settings_of(task: Task, names: Sequence[str]) -> list[Engine]:
    """Every engine asked for, or here, in every setting worth trying; eager torch is always the baseline."""
    chosen = {name: find.engine(name) for name in names} or {n: k for n, k in find.engines().items() if not k.missing()}
    for name, kind in chosen.items():
        if reason := kind.missing():
            raise MissingError(f"the engine {name} cannot run here", reason)
    if not any(k.takes == "onnx" for k in chosen.values()):
        raise MissingError("no engine that runs ONNX was found", "pip install hasten[onnxruntime,openvino]")
    eager = [] if isinstance(task.original, OnnxModel) else [k for k in find.engines().values() if k.takes == "torch"]
    kinds = dict.fromkeys([*eager, *(k for k in chosen.values() if k.takes == "onnx")])
    return [v for k in kinds for v in k.variants(False)]


def check(task: Task) -> None:
    """See that the task has what a search needs, and that its data fits its model.

    Raises:
        InputError: a part is missing or does not fit.
    """
    task.pipeline.require()
    task.pipeline.check(task.original.signature)
    splits: tuple[Split, ...] = ("calibrate", "validate", "test")
    for part in splits:
        if part == "validate" or getattr(task, part) is not None:
            task.split(part)
    if (n := len(task.split("validate"))) < CASES:
        raise InputError(f"validate has {n} samples", f"give at least {CASES}, of which golden cases are made")


def _search(
    bench: Bench, engines: list[Engine], recipes: list[str], budget: Budget, progress: Progress
) -> dict[str, Any]:
    """Baselines, candidates, final: the rows of the result."""
    began = time.monotonic()
    progress.stage("measuring the baselines")
    baselines = bench.baselines(engines)
    if bench.shop.load(AS_IT_IS).quantized:
        shares = ", ".join(f"{t.int8_share:.0%} on {t.engine}" for t in baselines if t.int8_share is not None)
        progress.note(f"the model holds INT8 already, and is not quantized again; layers that run in INT8: {shares}")
    split: Literal["validate", "test"] = "test" if bench.shop.task.test is not None else "validate"
    plain = next((t for t in baselines if t.precision != "bf16" and _onnx(t)), None)
    if budget.latency_ms is not None and plain and (plain.latency_p50_ms or 0) <= budget.latency_ms:
        rows, winner = bench.final(baselines, [plain], split)
        if (winner.latency_p50_ms or 0) <= budget.latency_ms:  # in the final as well
            return {
                "baselines": _json(rows),
                "winner": winner.to_json(),
                "trials": _json(bench.lost),
                "verdict": f"{winner.engine} takes {winner.latency_p50_ms:.3g} ms as the model is: no more is needed",
            }
    bench.refer([baselines[i] for i in fastest(baselines, [t.latency_p50_ms or 0.0 for t in baselines])])
    tried = list(_candidates(bench, [e for e in engines if e.takes == "onnx"], recipes, budget, progress, began))
    admitted = [
        t
        for t in (*tried, *baselines)
        if t.status == "kept" or (t.status == "baseline" and _onnx(t) and not why_not(t, budget))
    ]
    finalists = finalists_of(admitted)
    if not finalists:
        return {
            "baselines": _json(baselines),
            "winner": None,
            "trials": _json([*bench.lost, *tried]),
            "verdict": "no candidate stays within the budget"
            if any(t.status != "pending" for t in tried)
            else "the time given was used up before a candidate could be tried",
        }
    progress.stage(f"the final: {len(finalists)} of {len(tried)} candidates against {len(baselines)} baselines")
    rows, winner = bench.final(baselines, finalists, split)
    no = refusal(winner, budget)
    return {
        "baselines": _json(rows),
        "winner": None if no else winner.to_json(),
        "trials": _json([*bench.lost, *tried]),
        "verdict": no or praise(winner, budget, bench.shop.task.measure.name),
    }


def _candidates(
    bench: Bench, engines: list[Engine], recipes: list[str], budget: Budget, progress: Progress, began: float
) -> Iterator[Trial]:
    """Every recipe on every engine, each measured once and stored; what is stored is not measured again.

    A recipe that loses too much on every engine is followed, at the end, by its milder settings, while these can win.
    """
    proposed = list(dict.fromkeys([*recipes, *bench.shop.variants()]))
    at_most: dict[str, float] = {}  # milder recipe -> the speedup of the one that lost too much
    kinds = list(dict.fromkeys(type(e) for e in engines))
    best: Trial | None = None

    def late() -> bool:
        return time.monotonic() - began > budget.time_s - min(RESERVE_S, RESERVE * budget.time_s)

    for done, recipe in enumerate(proposed):  # which grows on the way
        if best and at_most.get(recipe, math.inf) <= (best.speedup or 0.0):
            continue
        spent = time.monotonic() - began
        left = min(spent / done * (len(proposed) - done) if done else budget.time_s, budget.time_s - spent)
        whole = Trial(recipe, "any engine")  # stands for the recipe where its file cannot be made
        if ended := bench.shop.store.ended(whole):
            yield ended
            continue
        if late():
            yield replace(whole, reason=LATE)
            continue
        progress.trial(done, len(proposed), recipe, max(0.0, left))
        try:
            model = bench.shop.load(recipe)
        except HastenError as fault:
            yield bench.shop.store.fail(bench.shop.store.plan(whole), fault)
            continue
        kept: set[type[Engine]] = set()
        lossy = 0.0
        for engine in dict.fromkeys(v for k in kinds for v in k.variants(model.quantized)):
            if late():
                known = bench.shop.store.ended(Trial(recipe, str(engine)))
                yield known or Trial(recipe, str(engine), reason=LATE)
                continue
            if engine.fallback and type(engine) in kept:
                spared = replace(Trial(recipe, str(engine)), status="rejected", reason=SPARED)
                yield bench.shop.store.ended(spared) or bench.shop.store.end(bench.shop.store.plan(spared))
                continue
            trial = bench.tried(recipe, engine, partial(_fate, best=best, budget=budget), best)
            speed = f"{trial.speedup:.2f}x" if trial.speedup else ""
            progress.note(f"{trial.status}: {trial.label} {speed} {trial.reason}".rstrip())
            if trial.status == "kept":
                kept.add(type(engine))
                best = max(best or trial, trial, key=lambda t: t.speedup or 0.0)
            elif trial.accuracy_drop is not None and why_not(trial, budget):
                lossy = max(lossy, trial.speedup or 0.0)
            yield trial
        if lossy and not kept and (milder := Recipe.parse(recipe).milder) and str(milder) not in proposed:
            proposed.append(str(milder))
            at_most[str(milder)] = lossy


def _fate(trial: Trial, best: Trial | None, budget: Budget) -> str:
    return outrun(trial, best) or why_not(trial, budget)


def _ship(bench: Bench, winner: Trial, result: dict[str, Any], output: Path) -> str:
    """The winner as a bundle: what was timed is what is shipped, file and engine settings alike.

    Returns:
        What there is to add to the verdict.
    """
    task, engine, model = bench.shop.seen(winner.recipe), bench.engine(winner), bench.shop.load(winner.recipe)
    place = files.make_folder(bench.shop.folder / "stages")
    parts = exits.stages(model, engine, place)
    written = {
        "stages": parts if len(parts) > 1 else split.stages(model, task.pipeline, task.sample(), engine, place),
        "recipe": winner.recipe,
        "measurements": winner.to_json(),
        "conditions": result["conditions"],
        "cases": task.raw("validate"),
        "report": page(result),
    }
    if task.measure.name in _CHOOSES and task.pipeline.answer == Answer():
        choice = replace(task.pipeline, answer=Answer("classes", top_k=_CHOOSES[task.measure.name]))
        try:
            Bundle.write(output, pipeline=choice, **written)
            return ""
        except Undecided as fault:
            Bundle.write(output, pipeline=task.pipeline, **written)
            return f"; the bundle answers with tensors, not classes: {fault.what}"
    Bundle.write(output, pipeline=task.pipeline, **written)
    return ""


def _onnx(trial: Trial) -> bool:
    return find.engine(trial.engine.partition("(")[0]).takes == "onnx"


def _json(trials: list[Trial]) -> list[dict[str, Any]]:
    return [t.to_json() for t in trials]
