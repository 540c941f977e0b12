"""The desk: members and forms before the data, what each answers, and how good that is."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hasten.data import Data
from hasten.drop import Drop, paired_drop
from hasten.engine import Session
from hasten.errors import InputError, NotApplicable
from hasten.exits import ROUNDED
from hasten.measure.accuracy import answer
from hasten.offline.ensemble import forms
from hasten.offline.ensemble.forms import Form
from hasten.offline.ensemble.members import Member
from hasten.offline.ensemble.merged import Mean
from hasten.offline.ensemble.mixture import activation_of, fitted, without_the_least
from hasten.task import Split, Task


class Desk:
    """Answers are asked for once and kept; what is scored is what runs.

    Attributes:
        own: the members as forms.
        last: the part of the data that nobody has chosen by, where the task has one.
    """

    def __init__(self, members: Sequence[Member], task: Task, scratch: Path, max_drop: float, seed: int) -> None:
        """
        Raises:
            InputError: the task cannot tell what is right.
        """
        if task.measure.reference or task.raw("validate").target is None:
            raise InputError(
                f"{task.name!r} tells by {task.measure.name} how near an answer is to the original model's",
                "give validate labels, and a metric of them: no mean is nearer to a model than the model itself",
            )
        self.members, self.task, self.scratch = members, task, scratch
        self.max_drop, self.seed = max_drop, seed
        self.last: Split = "test" if task.test is not None else "validate"
        self.signature = members[0].bundle.signature
        self.own = [Form(m.name, m.bundle.stages, m.bundle.signature) for m in members]
        self._data: dict[Split, Data] = {}
        self._rows: dict[tuple[str, Split], np.ndarray] = {}
        self._firsts: dict[str, np.ndarray] = {}  # first outputs on validate, by name

    def averaged(self) -> tuple[Mean, list[float]]:
        """What is averaged and how, and the weight of each member."""
        firsts = [self._first(form) for form in self.own]
        activation = activation_of(self.members[0].bundle.pipeline.answer, self.task.measure.labels, firsts)
        target = self.part("validate").target
        assert target is not None
        found = fitted(firsts, target, activation)
        even = np.full(len(firsts), 1 / len(firsts))
        weights = [float(w) for w in (even if found is None else without_the_least(found))]
        kept = {m.prefix: w for m, w in zip(self.members, weights, strict=True) if w > 0}
        return Mean(self.signature.outputs, kept, activation), weights

    @property
    def best(self) -> Form:
        """The member that is best on validate."""
        return max(self.own, key=lambda form: self.total(form, "validate"))

    def total(self, form: Form, part: Split) -> float:
        """The metric, so that more is better."""
        metric = self.task.measure
        return float(metric.total(self.scored(form, part))) * (1 if metric.higher_is_better else -1)

    def forms(self, mean: Mean, layout: str | None) -> tuple[list[Form], dict[str, str]]:
        """Those that can be made and lose no more than is allowed, the cascade last; why not, by name, of the others.

        Raises:
            NotApplicable: there is none but the cascade.
        """
        plain = forms.apart(self.members, mean, self.scratch / forms.STAGES)
        made, reasons = [plain] if layout != "merged" else [], {}
        for place, engine in enumerate(forms.engines(self.members) if layout != "stages" else ()):
            try:
                name = f"{forms.MERGED}-{place}" if place else forms.MERGED
                made.append(self._held(forms.merged(self.members, mean, engine, self.scratch / name), plain))
            except NotApplicable as fault:
                reasons[f"merged on {engine}"] = fault.what
        if not made:
            raise NotApplicable("; ".join(reasons.values()), "choose the layout stages")
        try:
            made.append(self._held(self._cascade(mean, plain), plain))
        except NotApplicable as fault:
            reasons[forms.CASCADE] = fault.what
        return made, reasons

    def _cascade(self, mean: Mean, plain: Form) -> Form:
        if not self.task.measure.labels:
            raise NotApplicable("a cascade is for a choice between classes", "nothing else tells how sure an answer is")
        found = forms.cheapest(
            self.members,
            mean,
            [self._first(form) for form in self.own],
            [self.scored(form, "validate") for form in self.own],
            self.scored(plain, "validate"),
            self.task.measure,
            self.max_drop,
        )
        return forms.cascade(found, self.members, mean, self.scratch / forms.CASCADE)

    def _held(self, form: Form, plain: Form) -> Form:
        """A form that loses no more than is allowed, as it runs.

        Raises:
            NotApplicable: it loses more.
        """
        lost = self.against(form, plain, "validate").value
        if lost > self.max_drop + ROUNDED:
            raise NotApplicable(f"it loses {lost:.4f} on validate", f"{self.max_drop:g} is allowed")
        return form

    def against(self, form: Form, other: Form, part: Split) -> Drop:
        """The drop from another form to this one."""
        rows = self.scored(other, part), self.scored(form, part)
        return paired_drop(self.task.measure, *rows, self.part(part).groups, self.seed)

    def scored(self, form: Form, part: Split) -> np.ndarray:
        """The metric's rows of what it answers to a part of the data."""
        key = (form.name, part)
        if key not in self._rows:
            data, out = self.part(part), self.scratch / f"answers-{len(self._rows)}"
            with Session(form.flow(), form.signature) as session:
                names = answer(session, data, out)
            outputs = {name: np.load(out / f"{i}.npy", mmap_mode="r") for i, name in enumerate(names)}
            assert data.target is not None
            self._rows[key] = np.asarray(self.task.measure.rows(outputs, data.target))
            if part == "validate":
                self._firsts[form.name] = outputs[names[0]]
        return self._rows[key]

    def part(self, part: Split) -> Data:
        """Prepared as the members do it."""
        if part not in self._data:
            raw = self.task.raw(part)
            prepared = Data(self.members[0].bundle.pipeline.prepared(raw.inputs), raw.target, raw.groups)
            self._data[part] = prepared.check(self.signature, part)
        return self._data[part]

    def _first(self, form: Form) -> np.ndarray:
        self.scored(form, "validate")
        return self._firsts[form.name]


def ends(low: float, high: float) -> list[float] | None:
    """Of an interval; None where it is everything."""
    return [low, high] if math.isfinite(low) and math.isfinite(high) else None
