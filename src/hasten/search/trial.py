"""One trial: a recipe on an engine, and all that was measured of it. Its fields are the columns of every table."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from hasten.drop import Drop
from hasten.measure.latency import Latency, Speedup

Status = Literal["pending", "baseline", "kept", "rejected", "failed"]


@dataclass(frozen=True)
class Trial:
    """Figures are None until they are measured, and where they cannot be (p99 with too few samples)."""

    recipe: str
    engine: str  # with its settings, as printed
    status: Status = "pending"
    reason: str = ""  # why it was rejected, failed or never tried
    precision: str = ""  # int8 where the executed graph has INT8 layers, else that of the floating-point layers
    int8_share: float | None = None  # of the convolutions and matrix products as executed
    params: int | None = None
    macs: int | None = None  # multiply-adds for one sample
    size_mb: float | None = None
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_mean_ms: float | None = None  # this and the next two where the time depends on the sample
    latency_worst_ms: float | None = None  # median of the samples that take longest
    early_share: float | None = None  # of the samples that leave at the first exit
    throughput_per_s: float | None = None  # samples, at the best batch
    throughput_batch: int | None = None
    peak_memory_mb: float | None = None
    accuracy: float | None = None
    accuracy_drop: float | None = None  # from the original model, paired; in the metric's unit, positive is worse
    accuracy_drop_ci95: tuple[float, float] | None = None
    n_samples: int | None = None
    split: Literal["validate", "test"] = "validate"
    speedup: float | None = None  # time of the first baseline / time of this, interleaved
    speedup_ci95: tuple[float, float] | None = None
    speedups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # the same over each baseline raced with it
    seconds_spent: float = 0.0

    @property
    def key(self) -> str:
        return key_of(self.recipe, self.engine)

    @property
    def label(self) -> str:
        return f"{self.recipe} on {self.engine}"

    @property
    def typical_ms(self) -> float | None:
        """By which trials are compared."""
        return self.latency_p50_ms if self.latency_mean_ms is None else self.latency_mean_ms

    def to_json(self) -> dict[str, Any]:
        """The row of the result; an interval without an end (too few samples) is null."""
        row = asdict(self)
        for holder, name in [
            (row, "accuracy_drop_ci95"),
            (row, "speedup_ci95"),
            *((over, "ci95") for over in row["speedups"].values()),
        ]:
            ends = holder[name]
            holder[name] = list(ends) if ends and all(map(math.isfinite, ends)) else None
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items() if k in known}
        return cls(**values)


def key_of(recipe: str, engine: str) -> str:
    """A short name that is the same in every run: what a trial is stored under."""
    return hashlib.sha256(f"{recipe}\n{engine}".encode()).hexdigest()[:16]


def timing(latency: Latency, over: Mapping[str, Speedup]) -> dict[str, Any]:
    """The latency columns, and the speedup over each baseline, the first of which is the headline."""
    first = next(iter(over.values()), None)
    return {
        "latency_p50_ms": latency.p50_ms,
        "latency_p90_ms": latency.p90_ms,
        "latency_p99_ms": latency.p99_ms,
        "latency_mean_ms": latency.mean_ms,
        "speedup": first and first.value,
        "speedup_ci95": first and (first.low, first.high),
        "speedups": {name: {"value": s.value, "ci95": [s.low, s.high]} for name, s in over.items()},
    }


def scoring(accuracy: float, drop: Drop | None, n: int, split: Literal["validate", "test"]) -> dict[str, Any]:
    """The accuracy columns; `drop` is None for the original itself."""
    return {
        "accuracy": accuracy,
        "accuracy_drop": drop.value if drop else 0.0,
        "accuracy_drop_ci95": (drop.low, drop.high) if drop else (0.0, 0.0),
        "n_samples": n,
        "split": split,
    }
