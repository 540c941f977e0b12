"""An ensemble as a table: members and forms, what they gain over the best member, and what they take."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hasten.report.cells import Column, digits, early, fixed, interval, short, signed, times, typical
from hasten.report.table import filled

if TYPE_CHECKING:
    from rich.console import RenderableType


def tables(result: Mapping[str, Any]) -> "list[RenderableType]":
    """A row for each member and each form; then what could not be made, and why.

    Args:
        result: as in spec/ensemble.schema.json.
    """
    weights = {one["bundle"]: one["weight"] for one in result["members"]}
    columns = [
        Column("what", lambda r: r["name"], figure=False),
        Column("weight", lambda r: digits(weights.get(r["name"])), "in the mean"),
        Column(result["metric"]["name"], lambda r: fixed(r["accuracy"])),
        Column("gain", lambda r: interval(r["gain"], r["gain_ci95"], signed), "over the best member, 95 %"),
        Column("on", lambda r: r["split"], figure=False),
        Column("p50 ms", typical, "median time of one call; the mean where it depends on the sample"),
        Column("as fast", lambda r: times(r["over_best"]["value"]), "as the best member"),
        Column("leave early", early, "share of the samples, and the time of the others"),
        Column("MACs", lambda r: short(r["macs"])),
        Column("MB", lambda r: digits(r["size_mb"])),
        Column("engine", lambda r: r["engine"], figure=False),
    ]
    left_out = [f"{name}: {reason}" for name, reason in result["reasons"].items()]
    return [filled(f"best on validate: {result['best']}", columns, result["rows"]), *left_out]
