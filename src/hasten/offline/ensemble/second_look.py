"""What an ensemble gains by looking several times at each sample: a further row beside its own."""

from typing import Any

import numpy as np

from hasten.drop import paired_drop
from hasten.engine import Session
from hasten.offline.ensemble.desk import Desk, ends
from hasten.offline.ensemble.forms import Form
from hasten.offline.ensemble.mixture import Activation
from hasten.offline.views.fold import Views
from hasten.offline.views.greedy import PIECE, Looker, greedy


def looked(
    desk: Desk, form: Form, activation: Activation, row: dict[str, Any], tta: str, reasons: dict[str, str]
) -> list[dict[str, Any]]:
    """The row of a form with those of the views that help on validate; none, and a reason, where none does.

    Args:
        activation: from outputs to what views are averaged of, as members are.
        row: of the form alone; times are its own, by what the views cost in turns with it.

    Raises:
        UsageError: a view that these networks cannot take.
    """
    metric, merge = desk.task.measure, f"mean:{'outputs' if activation == 'none' else activation}"
    pipeline, data = desk.members[0].bundle.pipeline, desk.part(desk.last)
    with Session(form.flow(), form.signature) as session:
        looker = Looker(session, pipeline, metric, desk.part("validate"))
        found = greedy(looker, tta, merge, seed=desk.seed)["chosen"]
        if not found["tta"]:
            reasons[f"{form.name} + {tta}"] = "no view raises the metric on validate"
            return []
        plan = Views.of(found["tta"], form.signature, pipeline, merge)
        parts = [plan.answers(looker.infer, feed) for feed in data.batches(PIECE)]
    assert data.target is not None
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows = np.asarray(metric.rows(outputs, data.target))
    lost = paired_drop(metric, desk.scored(desk.best, desk.last), rows, data.groups, desk.seed)
    times = ("latency_p50_ms", "latency_mean_ms", "latency_worst_ms")
    return [
        row
        | {time: row[time] and row[time] * found["cost"] for time in times}
        | {
            "name": f"{form.name} + {found['tta']}",
            "accuracy": float(metric.total(rows)),
            "gain": -lost.value,
            "gain_ci95": ends(-lost.high, -lost.low),
            "over_best": {"value": row["over_best"]["value"] / found["cost"], "ci95": None},
            "macs": row["macs"] and row["macs"] * found["runs"],
        }
    ]
