"""Where two models begin to differ, for a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hasten.report.cells import NONE, Column, percent
from hasten.report.table import filled

if TYPE_CHECKING:
    from rich.console import RenderableType

NAMED = 5  # tensors without a partner


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.2g}"


OUTPUTS = (
    Column("output", lambda r: r["name"], figure=False),
    Column("max", lambda r: _share(r["max_abs"]), "largest difference, in its own unit"),
    Column("error", lambda r: _share(r["error"]), "over the largest magnitude"),
    Column("cosine", lambda r: f"{r['cosine']:.6f}"),
    Column("agreement", lambda r: percent(r["agreement"]), "rows whose largest value is the same"),
)
LAYERS = (
    Column("module", lambda r: r["module"], "the user's", figure=False),
    Column("operators", lambda r: " + ".join(r["ops"][-3:]) or NONE, figure=False),
    Column("own error", lambda r: r["reason"] or _share(r["own"]), "where it is fed what the reference has"),
    Column("arrives", lambda r: _share(r["arrives"]), "the largest error of what it is fed"),
    Column("leaves", lambda r: _share(r["total"]), "error of what it makes in the whole"),
    Column("tensor", lambda r: r["tensor"], figure=False),
)


def diff_tables(result: Mapping[str, Any]) -> "list[RenderableType]":
    """The sides, the outputs, the worst layers, what has no partner, and the verdict.

    Args:
        result: as in spec/diff.schema.json.
    """
    sides = {key: f"{result[key]['name']} on {result[key]['engine']}" for key in ("reference", "other")}
    shown: list[RenderableType] = [f"{sides['other']}, beside {sides['reference']}"]
    allowed = _share(result["tolerance"])
    title = f"outputs, on {result['samples']} samples; {allowed} of the largest magnitude is allowed"
    shown.append(filled(title, OUTPUTS, result["outputs"]))
    if result["worst"]:
        title = f"the worst of {result['layers']} layers, on {result['layer_samples']} samples"
        shown.append(filled(title, LAYERS, result["worst"]))
    elif result["layers"]:
        shown.append(f"none of {result['layers']} layers differs by itself at all")
    for key, side in sides.items():
        alone = result["without_partner"][key]
        if alone["count"]:
            names = ", ".join(alone["tensors"][:NAMED]) + (", ..." if alone["count"] > NAMED else "")
            shown.append(f"without a partner in {side}: {alone['count']} tensors, {names}")
    if result["not_run"]:
        shown.append(f"not run by themselves: {', '.join(layer['module'] for layer in result['not_run'])}")
    if result["same"] and result["why"]:
        shown.append(f"the layers were not compared: {result['why']}")
    return [*shown, result["verdict"]]
