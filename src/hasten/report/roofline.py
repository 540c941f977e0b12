"""What each layer achieves, beside what the machine can do, as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hasten.report.cells import NONE, Column, Row, digits, percent
from hasten.report.table import filled

if TYPE_CHECKING:
    from rich.console import RenderableType

TOP = 15  # layers shown, those that take most; --json has all
COLUMNS = (
    Column("layer", lambda r: ", ".join(r["modules"]) or r["layer"], "the user's modules", figure=False),
    Column("as", lambda r: f"{r['op']} {r['precision']}", "as executed", figure=False),
    Column("ms", lambda r: digits(r["ms"])),
    Column("share", lambda r: percent(r["share"])),
    Column("Gop/s", lambda r: _giga(r["per_s"]) if r["operations"] else NONE, "two operations a multiply-add"),
    Column("GB/s", lambda r: _giga(r["bytes_per_s"]) if r["bytes"] else NONE, "weights and activations"),
    Column("used", lambda r: percent(r["utilization"]), "of what the machine can do: its floor / its time"),
    Column("bound by", lambda r: r["bound"], figure=False),
)
FUSIONS = (
    Column("nodes", lambda r: " + ".join(r["ops"]), "operators of the file", figure=False),
    Column("layers", lambda r: str(r["layers"]), "made of these"),
    Column("ms", lambda r: digits(r["ms"]), "of a call, together"),
)


def roofline_tables(rows: Sequence[Row]) -> "list[RenderableType]":
    """For each engine that tells what its layers take; of the others, why there is no table.

    Args:
        rows: of `hasten measure`, as in spec/measure.schema.json.
    """
    parts: list[RenderableType] = []
    for row in rows:
        if found := row.get("roofline"):
            told = f"no layers of {row['engine']}: {found['reason']}"
            parts += [told] if found["reason"] else _of(row["engine"], found)
    return parts


def said(engine: str, found: Mapping[str, Any]) -> list[str]:
    """What is to be known beside the layers, a sentence each."""
    parts = [
        f"{engine}: its layers add up to {digits(found['sum_ms'])} ms of a call of {digits(found['profiled_ms'])} ms, "
        f"which takes {digits(found['plain_ms'])} ms where no account is kept"
    ]
    if found["uncounted"]:
        parts.append(f"not in these figures: {', '.join(found['uncounted'])}")
    if over := [layer["layer"] for layer in found["layers"] if (layer["utilization"] or 0) > 1]:
        parts.append(
            f"above 100 %: {', '.join(over[:5])}{' and others' if len(over) > 5 else ''}: the engine does these with "
            "fewer operations than were counted (Winograd), or finds what they read nearer than was assumed"
        )
    return parts


def peaks_said(peaks: Mapping[str, Any]) -> str:
    compute = ", ".join(f"{p} {v / 1e9:.0f} Gop/s ({peaks['layers'][p]})" for p, v in peaks["operations"].items())
    memory = ", ".join(
        f"{level} {v / 1e9:.0f} and {peaks['copy'][level] / 1e9:.0f} GB/s" for level, v in peaks["read"].items()
    )
    return f"this machine at most, measured with {peaks['threads']} threads: {compute}; reading and copying: {memory}"


def _giga(rate: float | None) -> str:
    return digits(rate and rate / 1e9)


def _of(engine: str, found: Mapping[str, Any]) -> "list[RenderableType]":
    layers = sorted(found["layers"], key=lambda r: -r["ms"])
    rest = f"{len(layers) - TOP} more layers take {digits(sum(r['ms'] for r in layers[TOP:]))} ms"
    return [
        filled(f"layers on {engine}", COLUMNS, layers[:TOP]),
        *([rest] if len(layers) > TOP else []),
        *([filled(f"nodes that {engine} made one layer of", FUSIONS, found["fused"])] if found["fused"] else []),
        *said(engine, found),
        peaks_said(found["peaks"]),
    ]
