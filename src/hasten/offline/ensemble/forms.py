"""The forms of an ensemble: a stage for each member, all in one file, and a cascade."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hasten.answer import activated
from hasten.engine import Engine
from hasten.errors import NotApplicable
from hasten.exits import FIRST, REST, lowest_threshold
from hasten.flow import Flow
from hasten.measure.flops import count
from hasten.metric import Metric
from hasten.model import OnnxModel, Signature
from hasten.offline.ensemble.members import Member
from hasten.offline.ensemble.merged import Mean, together
from hasten.stage import Stage, Unless

STAGES, MERGED, CASCADE = "stages", "merged", "cascade"  # names of the forms, and how they begin
WORTH = 0.95  # of the multiply-adds, on the average: a cascade that saves less is none


@dataclass(frozen=True, eq=False)
class Form:
    """One way to run the ensemble; its files lie beside each other, as a bundle calls them."""

    name: str
    stages: tuple[Stage, ...]
    signature: Signature

    def flow(self) -> Flow:
        return Flow(self.stages, [t.name for t in self.signature.outputs])

    @property
    def engines(self) -> str:
        return ", ".join(dict.fromkeys(str(stage.engine) for stage in self.stages))

    @property
    def size_mb(self) -> float:
        return sum(stage.file.stat().st_size for stage in self.stages) / 1e6

    def macs(self, early_share: float = 0.0) -> int | None:
        """For one sample; on the average, where that share is content with the first stage."""
        found = [(stage, count(OnnxModel.load(stage.file)).macs) for stage in self.stages]
        if any(macs is None or stage.when in ("frame", "window") for stage, macs in found):
            return None
        return round(sum((1 - early_share if stage.unless else 1) * macs for stage, macs in found))


@dataclass(frozen=True)
class Cheap:
    """A member that answers first, and from which score on that is enough.

    Attributes:
        cost: multiply-adds of an average sample, as a share of the ensemble's.
    """

    member: Member
    threshold: float
    leave: float
    cost: float


def apart(members: Sequence[Member], mean: Mean, folder: Path) -> Form:
    """A stage or more for each member, on its own engine, and a last one for the mean."""
    folder.mkdir()
    stages = [stage for member in members if member.prefix in mean.weights for stage in member.stages(folder)]
    averaged = mean.alone().save(folder / "mean.onnx")
    engine = type(stages[0].engine)(threads=1).in_turns()
    stages.append(Stage("mean", folder / "mean.onnx", engine, averaged.signature))
    return Form(STAGES, tuple(stages), members[0].bundle.signature)


def merged(members: Sequence[Member], mean: Mean, engine: Engine, folder: Path) -> Form:
    """One file on one engine.

    Raises:
        NotApplicable: a member has several stages, or they cannot be one graph.
    """
    whole = together(_models(members, mean), mean)
    folder.mkdir()
    return Form(folder.name, (_stage("model", whole, engine, folder),), members[0].bundle.signature)


def engines(members: Sequence[Member]) -> list[Engine]:
    """Those that the members were made for, each with the most threads that one of them has."""
    found: dict[Engine, int] = {}
    for engine in (stage.engine for member in members for stage in member.bundle.stages):
        plain = replace(engine, threads=0)
        found[plain] = max(found.get(plain, 0), engine.threads)
    return [replace(engine, threads=threads) for engine, threads in found.items()]


def cascade(cheap: Cheap, members: Sequence[Member], mean: Mean, folder: Path) -> Form:
    """A first stage that answers as the cheap member does, and the rest, which runs unless that is sure.

    Both answer on the scale of the mean. The member's own outputs are handed to the rest, where they count for it. The
    rest is one file, on the engine of its first member, since the format knows no tensor that only some samples have.

    Raises:
        NotApplicable: as `merged`.
    """
    first, outputs = cheap.member, mean.outputs
    counts = first.prefix in mean.weights
    handed = [replace(t, name=first.prefix + t.name) for t in outputs] if counts else []
    alone = replace(mean, weights={first.prefix: 1.0})
    quick = together({first.prefix: first.model}, alone, kept=handed)
    others = [m for m in members if m is not first and m.prefix in mean.weights]
    rest = together(_models(others, mean), mean, handed=handed)
    folder.mkdir()
    judged = Unless(outputs[0].name, mean.activation, cheap.threshold)
    early, late = (engines(who)[0].in_turns() for who in ([first], others))
    careful = replace(_stage(REST, rest, late, folder), when="unless", unless=judged)
    return Form(CASCADE, (_stage(FIRST, quick, early, folder), careful), first.bundle.signature)


def cheapest(
    members: Sequence[Member],
    mean: Mean,
    firsts: Sequence[np.ndarray],
    rows: Sequence[np.ndarray],
    whole: np.ndarray,
    metric: Metric,
    max_drop: float,
) -> Cheap:
    """The member with which an average sample costs least, at the lowest threshold that loses no more than is allowed.

    Args:
        firsts: first outputs of the members on validate.
        rows, whole: the metric's rows of the members, and of the ensemble.

    Raises:
        NotApplicable: none is sure of enough; says how many.
    """
    costs = {m.prefix: count(m.model).macs or 0 for m in members}
    needed = sum(costs[prefix] for prefix in mean.weights)
    found = []
    for member, output, own in zip(members, firsts, rows, strict=True):
        scores = activated(output.astype(np.float64), mean.activation).max(-1)
        threshold, leave = lowest_threshold(scores.reshape(len(scores), -1).min(1), own, whole, metric, max_drop)
        cost = costs[member.prefix]
        rest = needed - (cost if member.prefix in mean.weights else 0)
        found.append(Cheap(member, threshold, leave, (cost + (1 - leave) * rest) / max(1, needed)))
    best = min(found, key=lambda c: c.cost)
    if best.cost > WORTH:
        raise NotApplicable(
            f"a cascade has nothing to do: {best.member.name} is sure of {best.leave:.0%} of validate, too few to pay",
            "allow a larger drop, or add a smaller member",
        )
    return best


def _models(members: Sequence[Member], mean: Mean) -> Mapping[str, OnnxModel]:
    """The networks that count, by prefix."""
    return {member.prefix: member.model for member in members if member.prefix in mean.weights}


def _stage(name: str, model: OnnxModel, engine: Engine, folder: Path) -> Stage:
    path = folder / f"{name}.onnx"
    return Stage(name, path, engine, model.save(path).signature)
