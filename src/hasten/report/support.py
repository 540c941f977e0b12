"""What a target makes of every node, for a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hasten.report.cells import NONE, Column, digits, percent
from hasten.report.table import filled

if TYPE_CHECKING:
    from rich.console import RenderableType

NODES = (
    Column("module", lambda r: r["module"] or r["node"], "the user's", figure=False),
    Column("op", lambda r: r["op"], figure=False),
    Column("verdict", lambda r: r["word"], figure=False),
    Column("why", lambda r: r["why"] or NONE, figure=False),
    Column("instead", lambda r: r["instead"] or NONE, figure=False),
)
FIGURES = {
    "nodes_share": ("nodes that it takes", percent),
    "macs_share": ("multiply-adds that it takes", percent),
    "switches": ("changes between GPU and DLA", lambda v: f"{v:g}"),
    "loadables": ("stretches on the DLA", lambda v: f"{v:g}"),
    "engine_mb": ("engine, MB", digits),
}


def support_tables(result: Mapping[str, Any]) -> "list[RenderableType]":
    """A row a node, figures, the summary.

    Args:
        result: as in spec/check.schema.json.
    """
    shown: list[RenderableType] = [filled("", NODES, result["nodes"])]
    said = [
        f"{what}: {text(result['figures'][name])}"
        for name, (what, text) in FIGURES.items()
        if name in result["figures"]
    ]
    if said:
        shown.append(", ".join(said))
    shown += result["remarks"]
    return [*shown, summary(result)]


def summary(result: Mapping[str, Any]) -> str:
    """How many of each, and who says so."""
    words = {"native": "native", "falls back": "fall back", "refused": "refused", "unknown": "could not be asked"}
    counts = ", ".join(f"{n} {words[word]}" for word, n in result["counts"].items() if n)
    estimate = " (an estimate: nothing was run)" if result["estimate"] else ""
    return f"{result['said']}{estimate}: of {len(result['nodes'])} nodes {counts or 'none'}"
