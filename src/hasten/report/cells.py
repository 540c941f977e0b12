"""How each figure of a row is written, on a terminal and on the page alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NONE = "-"  # what is not known
EARLY = "leave early"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    head: str
    text: Callable[[Row], str]
    hint: str = ""  # what it is, for who asks
    figure: bool = True  # right-aligned


def columns(metric: str) -> tuple[Column, ...]:
    """Every column of a row of the result, in the order in which people ask."""
    return (
        Column("recipe", lambda r: r["recipe"], "what was done to the model", figure=False),
        Column("engine", lambda r: r["engine"], "with its settings", figure=False),
        Column("precision", lambda r: r["precision"] or NONE, "as executed", figure=False),
        Column("speedup", lambda r: interval(r["speedup"], r["speedup_ci95"], times), "over the original, 95 %"),
        Column("p50 ms", typical, "median time of one call; the mean where it depends on the sample"),
        Column("p90 ms", lambda r: digits(r["latency_p90_ms"])),
        Column("p99 ms", lambda r: digits(r["latency_p99_ms"])),
        Column(EARLY, early, "share of the samples that leave at the exit, and the median time of the others"),
        Column(metric, lambda r: fixed(r["accuracy"]), "the metric"),
        Column("drop", lambda r: interval(r["accuracy_drop"], r["accuracy_drop_ci95"], signed),
               "from the original, in the metric's unit, with its 95 % interval; negative is better"),
        Column("on", data, "the part of the data that accuracy and drop are of", figure=False),
        Column("int8", lambda r: percent(r["int8_share"]), "share of heavy layers that run in INT8"),
        Column("samples/s", batched, "throughput at the best batch"),
        Column("MB", lambda r: digits(r["size_mb"]), "size of the file"),
        Column("memory MB", lambda r: digits(r["peak_memory_mb"]), "peak of the process"),
        Column("MACs", lambda r: short(r["macs"]), "multiply-adds for one sample"),
        Column("status", said, figure=False),
    )  # fmt: skip


def digits(value: float | None) -> str:
    """Three that matter."""
    if value is None:
        return NONE
    places = next((p for p, bound in ((3, 1), (2, 10), (1, 100)) if abs(value) < bound), 0)
    return f"{value:.{places}f}"


def typical(row: Row) -> str:
    """The median time of a call; `0.312 mean` where it depends on the sample."""
    mean = row.get("latency_mean_ms")
    return digits(row.get("latency_p50_ms")) if mean is None else f"{digits(mean)} mean"


def early(row: Row) -> str:
    """`71%, others 0.72 ms`."""
    share = row.get("early_share")
    return NONE if share is None else f"{percent(share)}, others {digits(row['latency_worst_ms'])} ms"


def short(value: float | None) -> str:
    """124 M."""
    if value is None:
        return NONE
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def times(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def fixed(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    return NONE if value is None else f"{value:+.4f}"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.0%}"


def interval(value: float | None, ends: Sequence[float] | None, write: Callable[[float | None], str]) -> str:
    """`5.20 [5.01, 5.44]`."""
    return write(value) if value is None or ends is None else f"{write(value)} [{write(ends[0])}, {write(ends[1])}]"


def batched(row: Row) -> str:
    if row["throughput_per_s"] is None:
        return NONE
    return f"{row['throughput_per_s']:.0f} at {row['throughput_batch']}"


def data(row: Row) -> str:
    return NONE if row["accuracy"] is None else str(row["split"])


def said(row: Row) -> str:
    return f"{row['status']}: {row['reason']}" if row["reason"] else str(row["status"])
