"""Why it is not faster, for a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hasten.report.cells import Column, digits, percent, signed
from hasten.report.table import filled

if TYPE_CHECKING:
    from rich.console import RenderableType

TOP = 10  # modules that differ
MODULES = (
    Column("module", lambda r: r["module"], "the user's", figure=False),
    Column("ms", lambda r: digits(r["ms"]), "here"),
    Column("there", lambda r: digits(r["other_ms"]), "in the other file"),
    Column("more", lambda r: signed(r["ms"] - r["other_ms"])),
)


def slow_tables(result: Mapping[str, Any]) -> "list[RenderableType]":
    """Findings, most time first; then the modules that differ from the other file.

    Args:
        result: as in spec/explain.schema.json.
    """
    ms = result["latency_p50_ms"]
    shown: list[RenderableType] = [f"{result['task']} on {result['engine']}: {digits(ms)} ms a call"]
    for place, found in enumerate(result["findings"], 1):
        where = f" ({', '.join(found['layers'])})" if found["layers"] else ""
        shown.append(f"{place}. {found['reason']}, {digits(found['ms'])} ms, {percent(found['ms'] / ms)} of the call")
        shown.append(f"   {found['what']}{where}")
        shown.append(f"   remedy: {found['remedy']}")
    if not result["findings"]:
        shown.append("no reason was found: its layers are near what this machine can do")
    if against := result["against"]:
        title = f"against {against['task']}, which takes {digits(against['latency_p50_ms'])} ms"
        shown.append(filled(title, MODULES, against["modules"][:TOP]))
    return shown
