"""What views add and cost, as tables for a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hasten.report.cells import NONE, Column, Row, digits, fixed, interval, signed, times
from hasten.report.table import filled

if TYPE_CHECKING:
    from rich.console import RenderableType


def view_tables(result: Mapping[str, Any]) -> "list[RenderableType]":
    """Every view beside the plain look, the set that was chosen, and what it comes to.

    Args:
        result: of hasten.offline.views.greedy, with `what` and `engine`.
    """
    metric, chosen, plain = result["metric"]["name"], result["chosen"], result["plain"]
    columns = [
        Column("view", lambda r: r["view"], figure=False),
        Column("runs", lambda r: str(r["runs"])),
        Column(metric, lambda r: fixed(r["accuracy"])),
        Column("gain", lambda r: interval(r["gain"], r["gain_ci95"], signed)),
        Column("cost", lambda r: interval(r["cost"], r["cost_ci95"], times)),
    ]
    alone = [{"view": "as it is", "runs": 1, "accuracy": plain["validate"], "gain": None, "cost": None}]
    able = [row for row in result["views"] if not row["reason"]]
    shown: list[RenderableType] = [
        filled(
            f"{result['what']} on {result['engine']}: each view beside the plain look, on "
            f"{result['samples']['validate']} of validate; a plain call takes {digits(plain['p50_ms'])} ms",
            columns,
            [*({**row, "gain_ci95": None, "cost_ci95": None} for row in alone), *able],
        ),
        *(f"{row['view']} is left out: {row['reason']}" for row in result["views"] if row["reason"]),
    ]
    if chosen["tta"]:
        parts = [{**chosen[part], "on": part} for part in ("validate", "test") if chosen[part]]
        shown.append(filled("chosen: together", [Column("on", lambda r: r["on"], figure=False), *columns[2:4]], parts))
    return [*shown, verdict(result)]


def verdict(result: Mapping[str, Any]) -> str:
    """One sentence."""
    chosen, metric = result["chosen"], result["metric"]["name"]
    if not chosen["tta"]:
        return f"no view raises {metric} on validate"
    part = "test" if chosen["test"] else "validate"
    told: Row = chosen[part]
    return (
        f"--tta {chosen['tta']} --merge {result['merge']}: {metric} {fixed(told['accuracy'])}, "
        f"{interval(told['gain'], told['gain_ci95'], signed) or NONE} on {part}, for {chosen['runs']} runs, "
        f"{interval(chosen['cost'], chosen['cost_ci95'], times)} times a plain call"
    )
