"""Results as tables for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hasten.report.cells import NONE, Column, Row, batched, columns, digits, percent, short, signed

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

TOP = 8  # candidates shown; the page has all
_SHOWN = ("recipe", "engine", "precision", "speedup", "p50 ms")  # and the metric, and its drop


def result_tables(result: Mapping[str, Any]) -> "list[RenderableType]":
    """Baselines, the fastest candidates, the winner, the verdict.

    Args:
        result: as in spec/result.schema.json.
    """
    known = {c.head: c for c in columns(result["metric"]["name"])}
    drop = Column("drop", lambda r: signed(r["accuracy_drop"]))
    worst = Column("at most", lambda r: signed((r["accuracy_drop_ci95"] or (None, None))[1]))
    chosen = [*(known[head] for head in (*_SHOWN, result["metric"]["name"])), drop, worst, known["on"]]
    shown: list[RenderableType] = [filled("baselines: the model as it is", chosen[1:], result["baselines"])]
    if tried := ranked(result["trials"]):
        fate = Column("", lambda r: r["status"], figure=False)
        shown.append(filled(f"candidates: {_count(tried)}", [*chosen, fate], tried[:TOP]))
    if result["winner"]:
        shown.append(filled("winner", chosen, [result["winner"]]))
    return [*shown, result["verdict"]]


def ranked(trials: Iterable[Row]) -> list[Row]:
    """What is within the budget first, the fastest of them first; then what was measured; then what was not."""
    order = ("kept", "baseline", "rejected", "failed", "pending")
    return sorted(trials, key=lambda r: (order.index(r["status"]), -(r["speedup"] or 0.0)))


def survey_table(rows: Sequence[Row]) -> "Table":
    """What `hasten measure` found: an engine a row."""
    heads = (
        "engine",
        "precision",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "samples/s",
        "memory MB",
        "MB",
        "params",
        "MACs",
        "int8",
    )
    table = _empty("", heads, left=2)
    for row in rows:
        if row["reason"]:
            table.add_row(row["engine"], row["reason"], *[NONE] * (len(heads) - 2))
            continue
        figures = (
            *(digits(row[f"latency_{p}_ms"]) for p in ("p50", "p90", "p99")),
            batched(row),
            digits(row["peak_memory_mb"]),
        )
        size = (digits(row["size_mb"]), short(row["params"]), short(row["macs"]), percent(row["int8_share"]))
        table.add_row(row["engine"], row["precision"], *figures, *size)
    return table


def end_to_end_table(rows: Sequence[Row]) -> "Table":
    """What `hasten measure BUNDLE` found: from raw input to decision, and the model alone, a runner a row."""
    heads = ("from raw input to decision", "p50 ms", "prepare", "model", "answer", "over the model", "over Python")
    table = _empty("", heads, left=1)
    for row in rows:
        if row["reason"]:
            table.add_row(f"{row['runner']}: {row['reason']}", *[NONE] * (len(heads) - 1))
            continue
        parts = (digits(row[f"{part}_p50_ms"]) for part in ("latency", "prepare", "model", "answer"))
        low, high = row["over_python_range"] or (None, None)
        table.add_row(
            row["runner"],
            *parts,
            digits(row["over_model"]),
            f"{digits(row['over_python'])} [{digits(low)}, {digits(high)}]",
        )
    return table


def doctor_tables(found: Mapping[str, Any]) -> "list[RenderableType]":
    """What `hasten doctor` found: the machine, every part, the caches."""
    machine = _empty("machine", ("", ""), left=2)
    parts = _empty("parts", ("kind", "name", ""), left=3)
    caches = _empty("caches", ("folder", "MB"), left=1)
    for name, value in found["conditions"].items():
        machine.add_row(name, _plain(value))
    for part in found["parts"]:
        parts.add_row(part["kind"], part["name"], part["missing"] or "here")
    for cache in found["caches"]:
        caches.add_row(cache["folder"], digits(cache["mb"]))
    return [machine, parts, *([caches] if found["caches"] else [])]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{k} {v}" for k, v in value.items() if v]
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return NONE if value is None else str(value)


def _count(tried: Sequence[Row]) -> str:
    counts = {status: sum(r["status"] == status for r in tried) for status in ("kept", "rejected", "failed", "pending")}
    said = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    return said if len(tried) <= TOP else f"{said}; the first {TOP}"


def filled(title: str, chosen: Sequence[Column], rows: Iterable[Row]) -> "Table":
    """A table of these columns."""
    table = _empty(title, [c.head for c in chosen], left=0, right=[c.figure for c in chosen])
    for row in rows:
        table.add_row(*(c.text(row) for c in chosen))
    return table


def _empty(title: str, heads: Sequence[str], left: int, right: Sequence[bool] = ()) -> "Table":
    """A table without rows; the first `left` columns hold text, or `right` says of each whether it holds figures."""
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        figure = right[place] if right else place >= left
        table.add_column(head, justify="right" if figure else "left", overflow="fold", no_wrap=figure)
    return table
