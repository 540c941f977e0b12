"""The bench: measures baselines, candidates and finalists, each in a process of its own, against each other."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from hasten import find
from hasten.engine import Engine
from hasten.errors import HastenError, InputError
from hasten.exits import macs
from hasten.measure import machine
from hasten.measure.latency import Race, race
from hasten.measure.lock import quiet
from hasten.measure.stand import Entrant, Stand
from hasten.measure.threads import beside, best_threads
from hasten.model import TorchModel
from hasten.recipe import Recipe
from hasten.search.budget import outrun
from hasten.search.judge import Judge
from hasten.search.trial import Trial, timing
from hasten.search.workshop import Workshop

AS_IT_IS = str(Recipe())
DISTURBED = 1.3  # a reference that takes this many times what it took before was not alone on the machine
LOOKS = 3  # at a candidate, where that happens
FINALISTS = 3  # by speedup, and as many by p50: a neighbour of a moment can spoil either
CHOOSING = 4  # launches of the race among finalists
NEAR = 1.25  # how far a finalist may be behind the best: a launch has its luck


class Bench:
    """The references, the fastest baselines, stay alive through a search: every candidate is raced against them."""

    def __init__(self, shop: Workshop, judge: Judge, seed: int) -> None:
        self.shop, self.judge, self.seed = shop, judge, seed
        self._stack = ExitStack()
        self.references: list[tuple[Trial, Stand]] = []
        self.lost: list[Trial] = []  # baselines that cannot run
        self._engines: dict[str, Engine] = {}  # by the label of the trial, threads included

    def engine(self, trial: Trial) -> Engine:
        """The engine with the settings of a trial."""
        return self._engines[trial.engine]

    def tuned(self, recipe: str, engine: Engine) -> Trial:
        """A trial of `recipe` on `engine` with the number of threads that is fastest for this file."""
        name = type(engine).__module__.rpartition(".")[2]
        with quiet():
            threads = best_threads(self.path(recipe, engine), name, vars(engine), self.shop.feed("validate", recipe))
        chosen = replace(engine, threads=threads)
        self._engines[str(chosen)] = chosen
        return Trial(recipe, str(chosen), precision=chosen.precision)

    def path(self, recipe: str, engine: Engine) -> Path:
        """What a child process loads: the task file for torch, else the ONNX file."""
        source = self.shop.task.source
        return source if engine.takes == "torch" and source else self.shop.file(recipe)

    def baselines(self, engines: list[Engine]) -> list[Trial]:
        """Race the model as it is on every engine and precision; the first row is the original.

        What cannot run it is left in `lost`, with the reason.

        Raises:
            InputError: no eager torch, where the model is a module, or no engine at f32 can run it.
        """
        planned: list[Trial] = []
        for engine in engines:
            try:
                planned.append(self.shop.store.plan(self.tuned(AS_IT_IS, engine)))
            except HastenError as fault:
                self._lose(self.shop.store.plan(Trial(AS_IT_IS, str(engine))), fault)
        self.lost += [t for t in planned if t.status == "failed"]
        planned = self._enough([t for t in planned if t.status != "failed"])
        if all(t.status == "baseline" for t in planned):
            return originals_first(planned)
        with quiet(), ExitStack() as stack:
            began = time.monotonic()
            planned, stands = self._entered(planned, stack)
            self._enough(planned)
            result = race(stands, launches=1, seed=self.seed)
            p50 = [result.latency(i).p50_ms for i in range(len(stands))]
            first = fastest(planned, p50)[0]
            kept = []
            for i in sorted(range(len(stands)), key=lambda i: i != first):  # the others are held to the original's rows
                judged = self.judge.original if i == first else self.judge.score
                score = judged(stands[i], "validate", planned[i])
                front = fastest(planned, p50)
                times = timing(result.latency(i), {planned[j].engine: result.speedup(i, over=j) for j in front})
                kept.append(
                    replace(planned[i], status="baseline", **self.facts(planned[i], stands[i]), **score, **times)
                )
        spent = (time.monotonic() - began) / len(kept)
        return originals_first(self.shop.store.end_all([replace(t, seconds_spent=spent) for t in kept]))

    def _entered(self, trials: list[Trial], stack: ExitStack) -> tuple[list[Trial], list[Stand]]:
        """Those that start, and their stands; the others are lost."""
        able, stands = [], []
        for trial in trials:
            self.shop.store.start(trial)
            try:
                stands.append(stack.enter_context(self.stand(trial)))
            except HastenError as fault:
                self._lose(trial, fault)
            else:
                able.append(trial)
        return able, stands

    def _lose(self, trial: Trial, fault: HastenError) -> None:
        self.lost.append(self.shop.store.fail(trial, fault))

    def _enough(self, trials: list[Trial]) -> list[Trial]:
        """The trials, when the original and an engine at f32 are among them."""
        kinds = {self.engine(t).takes for t in trials if self.engine(t).precision == "f32"}
        for kind in ("torch", "onnx") if isinstance(self.shop.task.original, TorchModel) else ("onnx",):
            if kind not in kinds:
                said = [
                    f"{t.engine}: {t.reason}"
                    for t in self.lost
                    if find.engine(t.engine.partition("(")[0]).takes == kind
                ]
                raise InputError(f"the model does not run as it is: {'; '.join(said)}", "mend the model or its data")
        return trials

    def refer(self, references: list[Trial]) -> None:
        """Keep these alive for the races to come."""
        for trial in references:
            self.references.append((trial, self._stack.enter_context(self.stand(trial))))

    def tried(
        self,
        recipe: str,
        engine: Engine,
        fate: Callable[[Trial], str],
        best: Trial | None = None,
        against: Sequence[Trial] = (),
    ) -> Trial:
        """One candidate, kept or rejected; from the store where it has been measured before.

        Args:
            fate: why a measured trial is rejected; empty when it is kept.
            best, against: as in `measure`.
        """
        began = time.monotonic()
        try:
            trial = self.shop.store.plan(self.tuned(recipe, engine))
        except HastenError as fault:
            return self.shop.store.fail(self.shop.store.plan(Trial(recipe, str(engine))), fault)
        if trial.status != "pending":
            return trial
        self.shop.store.start(trial)
        try:
            trial = self.measure(trial, best, against)
            reason = fate(trial)
            trial = replace(trial, status="rejected" if reason else "kept", reason=reason)
        except HastenError as fault:
            return self.shop.store.fail(replace(trial, seconds_spent=time.monotonic() - began), fault)
        return self.shop.store.end(replace(trial, seconds_spent=time.monotonic() - began))

    def measure(self, trial: Trial, best: Trial | None, against: Sequence[Trial] = ()) -> Trial:
        """Race a candidate against the references and score the same session on validate.

        Args:
            best: so far; a candidate that this one outruns is not scored.
            against: the references that are raced; none: all of them.
        """
        began = time.monotonic()
        keys = {t.key for t in against}
        references = [(t, s) for t, s in self.references if not keys or t.key in keys]
        with quiet(), self.stand(trial) as stand:
            result = self._undisturbed(references, stand)
            own = len(references)
            over = {t.engine: result.speedup(own, over=i) for i, (t, _) in enumerate(references)}
            timed = replace(trial, **timing(result.latency(own), over), **self.facts(trial, stand))
            score = {} if outrun(timed, best) else self.judge.score(stand, "validate", trial)
            return replace(timed, **score, seconds_spent=time.monotonic() - began)

    def _undisturbed(self, references: list[tuple[Trial, Stand]], stand: Stand) -> Race:
        """A first look with the references in front, taken again where a neighbour slowed them; the quietest one."""
        seen: list[tuple[float, Race]] = []
        for turn in range(LOOKS):
            result = race([*(s for _, s in references), stand], launches=1, seed=self.seed + turn)
            known = enumerate(t.latency_p50_ms or math.inf for t, _ in references)
            seen.append((max(result.latency(i).p50_ms / before for i, before in known), result))
            if seen[-1][0] <= DISTURBED:
                break
        return min(seen, key=lambda s: s[0])[1]

    def final(
        self, baselines: list[Trial], finalists: list[Trial], split: Literal["validate", "test"]
    ) -> tuple[list[Trial], Trial]:
        """Finalists race each other, then the fastest races the baselines, in fresh processes, and meets `split`.

        A slower way to run eager torch stays out: the original has run in the faster one from the start.
        """
        self.close()
        raced = [t for i, t in enumerate(baselines) if i == 0 or not self.eager(t)]
        keys = {b.key for b in raced}
        with quiet(), ExitStack() as stack:
            chosen = self._chosen(finalists)
            stands = [stack.enter_context(self.stand(t)) for t in raced]
            entered = raced if chosen.key in keys else [*raced, chosen]
            place = next(i for i, t in enumerate(entered) if t.key == chosen.key)
            if chosen.key not in keys:
                stands.append(stack.enter_context(self.stand(chosen)))
            result = race(stands, seed=self.seed)
            rows = []
            for i, trial in enumerate(entered):
                over = {b.engine: result.speedup(i, over=j) for j, b in enumerate(raced)}
                judged = self.judge.original if i == 0 else self.judge.score
                rows.append(
                    replace(trial, **timing(result.latency(i), over), **judged(stands[i], split, trial))
                )  # test meets the baselines, which nobody chose, and the winner
        return [*rows[: len(raced)], *(t for t in baselines if t not in raced)], rows[place]

    def _chosen(self, finalists: list[Trial]) -> Trial:
        """The fastest in a race of their own: a race that chooses flatters what it has chosen."""
        entered = [one for t in finalists for one in self._with_threads(t)]
        if len(entered) == 1:
            return entered[0]
        with ExitStack() as own:
            stands = [own.enter_context(self.stand(t)) for t in entered]
            result = race(stands, launches=CHOOSING, seed=self.seed)
        return entered[min(range(len(entered)), key=lambda i: result.latency(i).typical_ms)]

    def _with_threads(self, trial: Trial) -> list[Trial]:
        """The trial, and the same with the next numbers of threads: the sweep that chose was one launch."""
        engine, found = self.engine(trial), [trial]
        for number in beside(engine.threads, machine.threads()):
            other = replace(engine, threads=number)
            self._engines[str(other)] = other
            found.append(replace(trial, engine=str(other)))
        return found

    def eager(self, trial: Trial) -> bool:
        """Whether it is the torch model itself that runs."""
        return self.engine(trial).takes == "torch"

    def stand(self, trial: Trial) -> Stand:
        engine = self.engine(trial)
        name = type(engine).__module__.rpartition(".")[2]
        path = self.path(trial.recipe, engine)  # first: what cannot be made says so
        return Stand(Entrant(path, name, vars(engine)), self.shop.feed("validate", trial.recipe))

    def facts(self, trial: Trial, stand: Stand) -> dict[str, Any]:
        """What is not a race: size, arithmetic, memory, throughput, the share of INT8 as executed."""
        share = stand.facts["int8_share"]
        per_s, batch = stand.throughput()
        model = self.shop.load(trial.recipe)
        original = self.shop.task.original
        ways = stand.ways()
        return ways | {
            "int8_share": share,
            "precision": "int8" if share else self.engine(trial).precision,
            "params": original.params
            if trial.recipe == AS_IT_IS and isinstance(original, TorchModel)
            else model.params,
            "macs": macs(model, ways.get("early_share", 0.0)),
            "size_mb": model.size_mb,
            "peak_memory_mb": stand.peak_memory_mb(),
            "throughput_per_s": per_s,
            "throughput_batch": batch,
        }

    def close(self) -> None:
        """End the references' processes."""
        self._stack.close()
        self.references.clear()


def fastest(baselines: list[Trial], p50_ms: list[float]) -> list[int]:
    """Indices of the references: the fastest eager torch (where there is one), then the fastest f32 engine."""

    def best(torch: bool) -> list[int]:
        able = [
            i
            for i, t in enumerate(baselines)
            if find.engine(t.engine.partition("(")[0]).takes == ("torch" if torch else "onnx") and t.precision != "bf16"
        ]
        return sorted(able, key=lambda i: p50_ms[i])[:1]

    return best(True) + best(False)


def finalists_of(admitted: list[Trial]) -> list[Trial]:
    """Those near the best by speedup, which a slowed reference flatters, or by p50, which a slowed moment spoils."""

    def best(cost: Callable[[Trial], float]) -> list[Trial]:
        ranked = sorted(admitted, key=cost)[:FINALISTS]
        return [t for t in ranked if cost(t) <= NEAR * cost(ranked[0])]

    by_speedup = best(lambda t: 1 / t.speedup if t.speedup else math.inf)
    return list({t.key: t for t in (*by_speedup, *best(lambda t: t.typical_ms or math.inf))}.values())


def originals_first(baselines: list[Trial]) -> list[Trial]:
    """The baselines with the references in front: the original model first of all."""
    front = fastest(baselines, [t.latency_p50_ms or 0.0 for t in baselines])
    return [baselines[i] for i in front] + [t for i, t in enumerate(baselines) if i not in front]
