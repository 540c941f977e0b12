"""What `hasten measure` found, as a page: the engines, and of each the picture of its layers and their table."""

from collections.abc import Mapping
from typing import Any

from hasten.report.html import rendered
from hasten.report.roof import picture
from hasten.report.roofline import COLUMNS, FUSIONS, peaks_said, said
from hasten.report.table import END_TO_END, SURVEY, cost


def page(result: Mapping[str, Any]) -> str:
    """As html.page: nothing runs, nothing is loaded, and the result is inside.

    Args:
        result: as in spec/measure.schema.json.

    Raises:
        MissingError: jinja2 is not installed.
    """
    parts = [_part(row["engine"], row["roofline"]) for row in result["rows"] if row.get("roofline")]
    prices, priced, reasons = cost(result["rows"])
    return rendered(
        "measured.html.j2", result, None, heads=SURVEY, rows=result["rows"], parts=parts, columns=COLUMNS,
        fusions=FUSIONS, whole=END_TO_END, prices=prices, priced=priced, reasons=reasons,
    )  # fmt: skip


def _part(engine: str, found: Mapping[str, Any]) -> dict[str, Any]:
    if found["reason"]:
        return {"engine": engine, "reason": found["reason"]}
    layers = [{**layer, "place": place} for place, layer in enumerate(found["layers"])]
    return {
        "engine": engine,
        "reason": "",
        "picture": picture(found),
        "said": said(engine, found),
        "peaks": peaks_said(found["peaks"]),
        "layers": sorted(layers, key=lambda layer: -layer["ms"]),
        "fused": found["fused"],
    }
