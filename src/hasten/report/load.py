"""What a bundle does under load, as a table for a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hasten.report.cells import NONE, Column, Row, digits
from hasten.report.table import filled

if TYPE_CHECKING:
    from rich.console import RenderableType

COLUMNS = (
    Column("", lambda r: f"{r['scenario']}, {r['mode']}", figure=False),
    Column("runner", lambda r: str(r["runner"]), figure=False),
    Column("", lambda r: "VALID" if r["valid"] else "INVALID", figure=False),
    Column("queries", lambda r: _count(r["queries"])),
    Column("samples", lambda r: _count(r["samples"])),
    Column("seconds", lambda r: digits(r["duration_s"])),
    Column("samples/s", lambda r: digits(r["qps"])),
    *(Column(f"{p} ms", lambda r, p=p: digits((r["percentiles"] or {}).get(p))) for p in ("p50", "p90", "p99")),  # type: ignore[misc]
    Column("early stopping", lambda r: _early(r["early_stopping"])),
)


def load_tables(load: Mapping[str, Any]) -> "list[RenderableType]":
    """The runs, what has to be said of them, the checks, and what these figures are.

    Args:
        load: as in spec/load.schema.json.
    """
    shown: list[RenderableType] = [filled(f"{load['scenario']}, {load['preset']} preset", COLUMNS, load["runs"])]
    for run in load["runs"]:
        shown += [f"{run['mode']}: {said}" for said in _notes(run)]
    samples = load["samples"]
    of = "golden samples" if samples["source"] == "golden" else f"samples of the {samples['source']} data"
    part = "" if samples["whole"] else ", not all of them"
    return [*shown, f"a sample is {load['sample']}; {samples['count']} {of}{part}", load["said"]]


def _notes(run: Row) -> list[str]:
    """What is to be said of a run, one line each."""
    said = [*run["reasons"]]
    if live := run["live"]:
        said.append(
            f"{live['streams']} streams of {run['settings']['fps']:g} frames a second within "
            f"{run['settings']['deadline_ms']:.3g} ms: {live['on_time']} frames on time, {live['late']} late, "
            f"{live['dropped']} dropped"
        )
    elif (bound := run["settings"]["latency_bound_ms"]) and run["valid"] and run["mode"] == "performance":
        said.append(f"{digits(run['settings']['expected_qps'])} queries a second hold {bound:.3g} ms at their p99")
    if run["percentiles_said"] and run["mode"] == "performance":
        said.append(run["percentiles_said"])
    for check in run["checks"]:
        said.append(f"{_word(check['passed'])} {check['name']}: {check['said']}")
        if check["accuracy"] and check["passed"]:
            said.append(check["accuracy"]["said"])
    return said


def _word(passed: bool | None) -> str:
    return "-" if passed is None else "yes" if passed else "NO"


def _count(value: int | None) -> str:
    return NONE if value is None else str(value)


def _early(found: Mapping[str, Any] | None) -> str:
    """`p90 <= 0.62`, or whether the run is long enough for its own figure."""
    if found is None:
        return NONE
    if found["estimate_ms"] is not None:
        return f"p{100 * found['percentile']:g} <= {digits(found['estimate_ms'])}"
    return "met" if found["met"] else "too few queries"
