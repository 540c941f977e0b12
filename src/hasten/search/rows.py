"""The rows of a comparison: one recipe each, measured on every engine beside the model as it is."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal

from hasten import files
from hasten.engine import Engine
from hasten.errors import HastenError, UsageError
from hasten.measure.latency import race
from hasten.measure.lock import quiet
from hasten.recipe import Recipe
from hasten.search.bench import Bench, fastest
from hasten.search.budget import Budget, why_not
from hasten.search.progress import Progress
from hasten.search.trial import Trial

TESTED = ("accuracy", "accuracy_drop", "accuracy_drop_ci95", "n_samples", "split")
Role = Literal["control", "alone", "together"]


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
    said: tuple[str, ...] = ()  # what techniques tell of it
    trials: tuple[Trial, ...] = ()

    def best(self, budget: Budget) -> Trial | None:
        """The fastest within the budget on validate; where none is, the one that loses least."""
        measured = [t for t in self.trials if t.status in ("kept", "rejected") and t.accuracy_drop is not None]
        within = [t for t in measured if not why_not(t, budget)]
        if within:
            return max(within, key=lambda t: t.speedup or 0.0)
        return min(measured, key=lambda t: t.accuracy_drop or 0.0, default=None)


class Rows:
    """The rows so far, and the baselines that they are held against, which stay alive."""

    def __init__(self, bench: Bench, engines: list[Engine], budget: Budget, progress: Progress) -> None:
        self._bench, self._budget, self._progress = bench, budget, progress
        progress.stage("measuring the model as it is")
        self.baselines = bench.baselines(engines)
        onnx = [t for t in self.baselines if not bench.eager(t)]
        front = fastest(self.baselines, [t.latency_p50_ms or 0.0 for t in self.baselines])
        self.reference = self.baselines[front[-1]]  # the fastest engine at f32
        self._engines = [e for e in engines if e.takes == "onnx"]
        self.rows: list[Row] = []
        bench.refer(sorted(onnx, key=lambda t: t is not self.reference))

    def add(self, recipe: str, role: Role, technique: str = "", reason: str = "") -> None:
        """Make the file and measure it on every engine; with a `reason` why not, only the row."""
        store, whole = self._bench.shop.store, Trial(recipe, "any engine")
        needs = {part for step in Recipe.parse(recipe).steps for part in step.needs}
        row = Row(recipe, role, technique, tuple(sorted(needs)), reason=reason)
        if reason:
            self.rows.append(row)
            return
        self._progress.stage(recipe)
        try:
            if ended := store.ended(whole):
                self.rows.append(replace(row, reason=ended.reason))
                return
            model, note = self._bench.shop.load(recipe), self._bench.shop.note(recipe)
        except HastenError as fault:
            store.fail(store.plan(whole), fault)
            self._progress.note(f"not made: {fault}")
            self.rows.append(replace(row, reason=str(fault)))
            return
        trials = tuple(self._measured(recipe, engine) for engine in self._settings(model.quantized))
        made = replace(row, minutes=note["seconds"] / 60, untouched=note["untouched"], said=tuple(note["said"]))
        self.rows.append(replace(made, trials=trials))

    def _settings(self, quantized: bool) -> list[Engine]:
        """Worth trying on such a file, in the precisions that the model as it is was measured in."""
        kinds = dict.fromkeys(type(e) for e in self._engines)
        able = dict.fromkeys(v for kind in kinds for v in kind.variants(quantized) if not v.fallback)
        return [v for v in able if any(_alike(v, e) for e in self._engines)]

    def _measured(self, recipe: str, engine: Engine) -> Trial:
        """Against the fastest engine at f32, and against itself with the model as it is."""
        same = [t for t in self.baselines if _alike(self._bench.engine(t), engine)]
        trial = self._bench.tried(
            recipe, engine, lambda t: why_not(t, self._budget), against=[self.reference, *same[:1]]
        )
        speed = f"{trial.speedup:.2f}x" if trial.speedup else trial.reason
        self._progress.note(f"{trial.engine}: {speed}")
        return trial

    def final(self) -> dict[str, Any] | None:
        """The fastest within the budget and how fast it is beside the reference, in fresh processes.

        Rows have one launch each, and the race that chooses flatters what it has chosen. The bench has no references
        after this.
        """
        best = [t for row in self.rows if (t := row.best(self._budget)) and t.status == "kept"]
        if not best:
            return None
        chosen = max(best, key=lambda t: t.speedup or 0.0)
        self._progress.stage(f"racing {chosen.label} again")
        self._bench.close()
        with quiet(), ExitStack() as stack:
            stands = [stack.enter_context(self._bench.stand(t)) for t in (self.reference, chosen)]
            over = race(stands, seed=self._bench.seed).speedup(1, over=0)
        return {
            "recipe": chosen.recipe, "engine": chosen.engine, "speedup": over.value,
            "speedup_ci95": [over.low, over.high],
        }  # fmt: skip

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
                    scored = replace(trial, **judged(stand, "test", trial)).to_json()
                found[trial.key] = {column: scored[column] for column in TESTED}
                files.write(path, json.dumps(found))
        return found


def together(rows: Sequence[Row], original: Trial, budget: Budget) -> list[str]:
    """The better setting of each technique, in recipes: what saves multiply-adds before what only saves bits.

    Each of the former with each of the latter; then all of the former with each of the latter.
    """
    better: dict[str, tuple[Row, Trial]] = {}
    for row in rows:
        trial, known = row.best(budget), better.get(row.technique)
        if row.role == "alone" and trial and (known is None or _rank(trial, budget) > _rank(known[1], budget)):
            better[row.technique] = row, trial
    smaller, lighter = [], []
    for row, trial in sorted(better.values(), key=lambda pair: _rank(pair[1], budget), reverse=True):
        if trial.macs and original.macs and trial.macs < original.macs:
            smaller.append(row.recipe)
        elif trial.precision == "int8":
            lighter.append(row.recipe)
    smaller.sort(key=_turn)
    anew = [recipe for recipe in smaller if _turn(recipe) < 0]  # of two that draw weights anew one can stand in front
    every = anew[:1] + smaller[len(anew) :]
    fronts = [[recipe] for recipe in smaller] + ([every] if len(every) > 1 else [])
    made = []
    for front in fronts:
        for last in lighter:
            try:
                made.append(str(Recipe.parse(" > ".join([*front, last]))))
            except UsageError:  # two that draw weights anew, say
                continue
    return made


def _turn(recipe: str) -> int:
    """What draws weights anew stands first, what leaves a graph last."""
    steps = Recipe.parse(recipe).steps
    return -1 if steps[0].forgets else int(steps[-1].gives == "onnx")


def _rank(trial: Trial, budget: Budget) -> tuple[bool, float]:
    """Within the budget by speed; outside it by what is lost."""
    within = not why_not(trial, budget)
    return within, (trial.speedup or 0.0) if within else -(trial.accuracy_drop or 0.0)


def _alike(a: Engine, b: Engine) -> bool:
    return type(a) is type(b) and a.precision == b.precision
