"""The plain mean of bundles, without data to fit weights on: what `hasten run --with` runs."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hasten.bundle import Bundle, is_bundle
from hasten.data import Data
from hasten.errors import InputError
from hasten.manifest import read
from hasten.offline.ensemble import forms
from hasten.offline.ensemble.members import Member, opened
from hasten.offline.ensemble.merged import Mean
from hasten.offline.ensemble.mixture import activation_of


def averaged(bundles: Sequence[str | Path], output: str | Path) -> Path:
    """A bundle that gives each member's answer the same weight, a stage for each; its golden cases are the members'.

    Where `output` is the mean of the same bundles already it stays as it is, to the byte.

    Raises:
        InputError: bundles that do not go together, or `output` is something else.
        MissingError, Unmet: as Bundle.load.
    """
    output = Path(output)
    with opened(bundles) as members, TemporaryDirectory(prefix="hasten-") as scratch:
        if is_bundle(output):
            seals = [one["seal"] for one in read(output)["measurements"].get("members", [])]
            if seals != [m.seal for m in members]:
                raise InputError(f"{output} is made of other bundles", "give the same again, or choose another folder")
            return output
        even, answer = 1 / len(members), members[0].bundle.pipeline.answer
        cases = _cases(members)
        firsts = [next(iter(m.bundle.run(cases.inputs).values())) for m in members]
        activation = activation_of(answer, answer.kind == "classes", firsts)
        mean = Mean(members[0].bundle.signature.outputs, {m.prefix: even for m in members}, activation)
        form = forms.apart(members, mean, Path(scratch) / "stages")
        Bundle.write(
            output,
            stages=form.stages,
            pipeline=members[0].bundle.pipeline,
            recipe=f"mean of {', '.join(f'{even:.3g} x {m.name}' for m in members)}",
            measurements={"members": [m.told(even) for m in members], "activation": activation},
            conditions={},
            cases=cases,
        ).close()
    return output


def _cases(members: Sequence[Member]) -> Data:
    """Raw samples of the members' golden cases; those that are shaped as the first one's."""
    every = [m.bundle.golden.raw(m.bundle.folder, i) for m in members for i in range(len(m.bundle.golden.cases))]
    shapes = {name: a.shape[1:] for name, a in every[0].items()}
    alike = [raw for raw in every if {name: a.shape[1:] for name, a in raw.items()} == shapes]
    return Data({name: np.concatenate([raw[name] for raw in alike]) for name in shapes})
