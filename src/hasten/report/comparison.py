"""A comparison as tables for a terminal, and as a page."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from hasten.report.cells import EARLY, NONE, Column, Row, digits, early, interval, short, signed, times, typical
from hasten.report.html import rendered
from hasten.report.picture import picture
from hasten.report.table import filled

if TYPE_CHECKING:
    from rich.console import RenderableType

AS_IT_IS = "as it is"
COST = ("params", "MACs", "MB", "min", "needs")  # heads of the first table in a terminal, beside times
GAIN = ("", "engine", "speedup", "drop", "on test")  # of the second


def comparison_tables(result: Mapping[str, Any]) -> "list[RenderableType]":
    """Every row, what each technique depends on, the verdict.

    Args:
        result: as in spec/comparison.schema.json.
    """
    known = {c.head: c for c in columns(result)}
    figures = [c for head, c in known.items() if head in ("recipe", EARLY, *COST) or head.startswith("ms, ")]
    gains = [known[head] for head in ("recipe", *GAIN)]
    depends = [
        Column("technique", lambda d: d["technique"], figure=False),
        Column("architecture-dependent?", lambda d: answer(d["architecture"]["depends"]), figure=False),
        Column("evidence", lambda d: d["architecture"]["said"], figure=False),
        Column("hardware-dependent?", lambda d: answer(d["hardware"]["depends"]), figure=False),
        Column("evidence", lambda d: d["hardware"]["said"], figure=False),
    ]
    title = f"gain: speedups are over the model as it is on {result['reference']}"
    return [
        filled(f"{result['task']}: size and time", figures, rows(result)),
        filled(title, gains, rows(result)),
        filled("on what it depends", depends, result["dependence"]),
        *(f"{r['recipe']}: {said}" for r in result["rows"] for said in (*r.get("said", []), r["reason"]) if said),
        result["verdict"],
    ]


def page(result: Mapping[str, Any]) -> str:
    """The page of a comparison; as html.page.

    Args:
        result: as in spec/comparison.schema.json.
    """
    drawn = picture(_as_search(result))
    return rendered(
        "comparison.html.j2", result, drawn, columns=columns(result), rows=list(rows(result)), answer=answer
    )


def answer(depends: bool | None) -> str:
    return {True: "yes", False: "no", None: "not known"}[depends]


def columns(result: Mapping[str, Any]) -> list[Column]:
    """Every column of a row."""
    metric, engines = result["metric"]["name"], list(dict.fromkeys(map(_short, _onnx(result))))
    exits = any(t.get("early_share") is not None for row in result["rows"] for t in row["trials"])
    return [
        Column("recipe", lambda r: r["recipe"], "what was done to the model", figure=False),
        Column("", lambda r: r["role"], figure=False),
        Column("params", lambda r: short(_best(r, "params"))),
        Column("MACs", lambda r: short(_best(r, "macs")), "multiply-adds for one sample"),
        Column("MB", lambda r: digits(_best(r, "size_mb")), "size of the file"),
        *(Column(f"ms, {e}", partial(_p50, e), "p50 of one call") for e in engines),
        *([Column(EARLY, _early, "on that engine, and the time of the other samples")] if exits else []),
        Column("engine", lambda r: _short(_best(r, "engine") or NONE), "fastest within the budget", figure=False),
        Column("speedup", lambda r: interval(_best(r, "speedup"), _best(r, "speedup_ci95"), times), "95 %"),
        Column("drop", lambda r: interval(_best(r, "accuracy_drop"), _best(r, "accuracy_drop_ci95"), signed),
               f"of {metric} on validate, paired, with its 95 % interval; negative is better"),
        Column("on test", lambda r: interval(*_tested(r), signed), f"the same of {metric} on test"),
        Column("min", lambda r: digits(r["minutes"]), "to make it on this machine"),
        Column("needs", lambda r: ", ".join(r["needs"]) or NONE, "parts of the data", figure=False),
    ]  # fmt: skip


def rows(result: Mapping[str, Any]) -> Iterator[Row]:
    """Those of the table: the model as it is first."""
    floats = [b for b in result["baselines"] if not b["engine"].startswith("torch")]
    best = next(i for i, b in enumerate(floats) if b["engine"] == result["reference"])
    yield {
        "recipe": AS_IT_IS, "role": "", "minutes": None, "needs": [], "trials": floats, "best": best,
        "test": None, "fate": "baseline",
    }  # fmt: skip
    for row in result["rows"]:
        status = row["trials"][row["best"]]["status"] if row["best"] is not None else "failed"
        yield {**row, "fate": status}


def _onnx(result: Mapping[str, Any]) -> list[str]:
    return [t["engine"] for row in rows(result) for t in row["trials"]]


def _short(engine: str) -> str:
    """`openvino bf16` of `openvino(hint=bf16, threads=2)`: the threads are chosen for each file."""
    name, _, settings = engine.removesuffix(")").partition("(")
    said = (s.partition("=")[2] for s in settings.split(", ") if s and not s.startswith("threads="))
    return " ".join([name, *said])


def _p50(engine: str, row: Row) -> str:
    return next((typical(t) for t in row["trials"] if _short(t["engine"]) == engine), NONE)


def _early(row: Row) -> str:
    return NONE if row["best"] is None else early(row["trials"][row["best"]])


def _best(row: Row, column: str) -> Any:
    if row["best"] is None:
        return None
    trial = row["trials"][row["best"]]
    if row["recipe"] == AS_IT_IS and column.startswith("speedup"):
        return None
    return trial[column]


def _tested(row: Row) -> tuple[float | None, Any]:
    return (row["test"]["accuracy_drop"], row["test"]["accuracy_drop_ci95"]) if row["test"] else (None, None)


def _as_search(result: Mapping[str, Any]) -> dict[str, Any]:
    """The best engine of each row, as the picture of a search takes them; speedups over the reference."""
    baselines = [
        {**b, "speedup": over["value"], "speedup_ci95": over["ci95"]}
        for b in result["baselines"]
        if (over := b["speedups"].get(result["reference"]))
    ]
    best = [row["trials"][row["best"]] for row in result["rows"] if row["best"] is not None]
    return {
        "baselines": baselines, "trials": best, "winner": None, "max_drop": result["max_drop"],
        "metric": result["metric"], "rows": result["rows"],
    }  # fmt: skip
