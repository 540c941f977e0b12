"""Results as tables for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hasten.report.cells import (
    EARLY,
    NONE,
    Column,
    Row,
    batched,
    columns,
    digits,
    early,
    percent,
    short,
    signed,
    typical,
)  # fmt: skip

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

TOP = 8  # candidates shown; the page has all
_SHOWN = ("recipe", "engine", "precision", "speedup", "p50 ms")  # and the metric, and its drop

SURVEY = (
    Column("engine", lambda r: r["engine"], "with its settings", figure=False),
    Column("precision", lambda r: r["reason"] or r["precision"], "as executed", figure=False),
    Column("p50 ms", typical, "median time of one call"),
    Column("p90 ms", lambda r: digits(r.get("latency_p90_ms"))),
    Column("p99 ms", lambda r: digits(r.get("latency_p99_ms"))),
    Column("samples/s", lambda r: NONE if r["reason"] else batched(r), "throughput at the best batch"),
    Column("memory MB", lambda r: digits(r.get("peak_memory_mb")), "peak of the process"),
    Column("MB", lambda r: digits(r.get("size_mb")), "size of the file"),
    Column("params", lambda r: short(r.get("params"))),
    Column("MACs", lambda r: short(r.get("macs")), "multiply-adds for one sample"),
    Column("int8", lambda r: percent(r.get("int8_share")), "share of heavy layers that run in INT8"),
)

END_TO_END = (
    Column("from raw input to decision", lambda r: f"{r['runner']}: {r['reason']}" if r["reason"] else r["runner"],
           figure=False),
    Column("p50 ms", typical, "median of a call"),
    Column("prepare", lambda r: digits(r.get("prepare_p50_ms"))),
    Column("model", lambda r: digits(r.get("model_p50_ms"))),
    Column("answer", lambda r: digits(r.get("answer_p50_ms"))),
    Column("over the model", lambda r: digits(r.get("over_model")), "end to end over the model alone"),
    Column("over Python", lambda r: _range(r), "end to end, and the lowest and highest launch"),
)  # fmt: skip


def result_tables(result: Mapping[str, Any]) -> "list[RenderableType]":
    """Baselines, the fastest candidates, the winner, the verdict.

    Args:
        result: as in spec/result.schema.json.
    """
    known = {c.head: c for c in columns(result["metric"]["name"])}
    drop = Column("drop", lambda r: signed(r["accuracy_drop"]))
    worst = Column("at most", lambda r: signed((r["accuracy_drop_ci95"] or (None, None))[1]))
    every = [*result["baselines"], *result["trials"], *([result["winner"]] if result["winner"] else [])]
    figures = [*(known[head] for head in _SHOWN), *_exits(every), known[result["metric"]["name"]]]
    chosen = [*figures, drop, worst, known["on"]]
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
    return filled("", [*SURVEY, *_exits(rows)], rows)


def cost_tables(rows: Sequence[Row]) -> "list[RenderableType]":
    """Of each engine the cost of a million answers, where a price was given, and their energy, where it is known."""
    columns, measured, reasons = cost(rows)
    return [*([filled("cost", columns, measured)] if columns else []), *reasons]


def cost(rows: Sequence[Row]) -> tuple[list[Column], list[Row], list[str]]:
    """Columns, none where nothing is known; the rows that have figures; and why energy is not told."""
    measured = [row for row in rows if not row["reason"]]
    columns = [Column("engine", lambda r: r["engine"], figure=False)]
    if any(row["cost"] for row in measured):
        columns.append(Column("a million, batched", lambda r: digits(r["cost"]["batched"]), "at the best batch"))
        columns.append(Column("one after the other", lambda r: digits(r["cost"]["single"]), "a million, a call each"))
    if not all(row["energy"]["reason"] for row in measured):
        columns.append(Column("mJ an answer", lambda r: digits(_milli(r["energy"].get("joules")))))
        columns.append(Column("W", lambda r: digits(r["energy"].get("watts")), "of all packages"))
    reasons = list(dict.fromkeys(row["energy"]["reason"] for row in measured if row["energy"]["reason"]))
    return columns if len(columns) > 1 else [], measured, reasons


def _milli(value: float | None) -> float | None:
    return None if value is None else 1e3 * value


def end_to_end_table(rows: Sequence[Row]) -> "Table":
    """What `hasten measure BUNDLE` found: from raw input to decision, and the model alone, a runner a row."""
    return filled("", [*END_TO_END, *_exits(rows)], rows)


def _exits(rows: Sequence[Row]) -> list[Column]:
    """A further column where samples leave early."""
    known = any(row.get("early_share") is not None for row in rows)
    return [Column(EARLY, early, "share of the samples, and the time of the others")] if known else []


def _range(row: Row) -> str:
    low, high = row.get("over_python_range") or (None, None)
    return NONE if row["reason"] else f"{digits(row['over_python'])} [{digits(low)}, {digits(high)}]"


def doctor_tables(found: Mapping[str, Any]) -> "list[RenderableType]":
    """What `hasten doctor` found: the machine, every part, the caches."""
    machine = _empty("machine", ("", ""), left=2)
    parts = _empty("parts", ("kind", "name", ""), left=3)
    caches = _empty("caches", ("folder", "MB"), left=1)
    for name, value in found["conditions"].items():
        machine.add_row(name, _plain(value))
    for part in found["parts"]:
        told = filter(None, (part.get("caveat"), part["missing"]))
        parts.add_row(part["kind"], part["name"], "; ".join(told) or "here")
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
