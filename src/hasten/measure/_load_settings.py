"""What one run under LoadGen is asked for: presets, expectations that a probe gives, and the file both runners read.

LoadGen makes its queries before it issues the first, as many as the expected latency or rate says. A run that answers
faster than that ends early and is invalid: so the expectations are generous, by the factors below.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

from hasten.errors import InputError
from hasten.measure.latency import ENOUGH_FOR_P99

Scenario = Literal["SingleStream", "MultiStream", "Server", "Offline"]
Mode = Literal["performance", "accuracy"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
SAMPLES_PER_QUERY = 8  # of MultiStream
FAST_LATENCY, FAST_RATE = 0.5, 1.3  # times the probe's: more than this faster than the probe and a run ends early
LOADED = 1024  # samples that a performance run draws from, at most
REPEATED = 10  # of a run's time is what each run of the same sample, and of distinct ones, gets: one in so many
SAMPLE_BYTES = 400  # of memory that LoadGen takes for a sample of a query, about; it makes them all before the first
LOGGED = 64  # answers that a performance run logs, about
_SEEDS = {"qsl": 2085463073848966840, "sample_index": 2747215439041700203, "schedule": 16159082839903944936}


@dataclass(frozen=True)
class Preset:
    """How long a run is, and how many queries it has, at least."""

    name: str
    seconds: float
    queries: Mapping[Scenario, int]  # of Offline: samples of its one query
    limit_s: float  # a run that would take longer is refused
    warm_s: float = 1.0  # of calls before the first that counts


QUICK = Preset(
    "quick", 10.0, {"SingleStream": 64, "MultiStream": ENOUGH_FOR_P99, "Server": ENOUGH_FOR_P99, "Offline": 1}, 60.0
)
STRICT = Preset(
    "strict",
    600.0,
    {"SingleStream": 100, "MultiStream": ENOUGH_FOR_P99, "Server": ENOUGH_FOR_P99, "Offline": 24_576},
    3600.0,
    5.0,
)


@dataclass(frozen=True)
class Probe:
    """What a runner does when nobody else asks: the time of single calls, and the rates of larger ones.

    Attributes:
        per_s: samples a call -> samples a second, of the sizes that answer to the byte as single calls do.
    """

    latency_p50_ms: float
    latency_p90_ms: float
    per_s: Mapping[int, float]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        rates = {int(size): float(rate) for size, rate in data["per_s"].items()}
        return cls(data["latency_p50_ms"], data["latency_p90_ms"], rates)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"per_s": {str(size): rate for size, rate in self.per_s.items()}}

    def best(self, most: int) -> int:
        """The size of a call, at most `most`, at which there are most samples a second."""
        return max((size for size in self.per_s if size <= most), key=lambda size: self.per_s[size])

    def sizes(self, most: int) -> tuple[int, ...]:
        """What calls are made of, the largest first: up to the best size."""
        best = self.best(most)
        return tuple(sorted((size for size in self.per_s if size <= best), reverse=True))

    def rate(self, most: int) -> float:
        """Samples a second at the best size up to `most`."""
        return self.per_s[self.best(most)]


@dataclass(frozen=True)
class Settings:
    """Of one run. Expectations that a scenario does not ask for are None."""

    scenario: Scenario
    mode: Mode
    min_duration_s: float
    min_query_count: int  # of Offline: of samples
    percentile: float  # the one that a scenario is judged by; of Offline it has no meaning
    samples: int  # that there are
    loaded_samples: int  # that a performance run draws from
    sizes: tuple[int, ...]  # samples that a call may take, the largest first
    samples_per_query: int = 1
    expected_latency_ms: float | None = None  # of a query
    expected_qps: float | None = None
    latency_bound_ms: float | None = None
    same_sample: bool = False  # the first one, again and again
    logged_answers: int = 0  # of a performance run, about; an accuracy run logs all
    warm_s: float = 1.0  # of calls before the first query
    seed: int = 0  # added to LoadGen's own three

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"sizes": list(self.sizes)}

    def for_runner(self) -> dict[str, Any]:
        """With the seeds as text: they are of 64 bits."""
        seeds = {name: str((own + self.seed) % 2**64) for name, own in _SEEDS.items()}
        return self.to_json() | {"seeds": seeds}

    def again(self, samples_per_s: float) -> Self:
        """For a run that ended early: the expectations that its own rate of samples gives."""
        if self.expected_latency_ms is not None:
            query_ms = 1e3 * self.samples_per_query / samples_per_s
            return replace(self, expected_latency_ms=FAST_LATENCY * min(self.expected_latency_ms, query_ms))
        return replace(self, expected_qps=FAST_RATE * max(self.expected_qps or 0.0, samples_per_s))

    @property
    def longest_s(self) -> float:
        """More than the run can take, at the expected rate or at a tenth of it."""
        rate = self.expected_qps or 1e3 / (self.expected_latency_ms or 1.0)
        queries = max(self.min_query_count, self.samples if self.mode == "accuracy" else 0)
        return 120.0 + 4 * self.min_duration_s + 10 * queries / rate


def performance(
    scenario: Scenario,
    preset: Preset,
    probe: Probe,
    samples: int,
    seed: int,
    *,
    qps: float | None = None,
    bound_ms: float | None = None,
) -> Settings:
    """The settings of a performance run.

    Args:
        samples: that there are.
        qps, bound_ms: of Server: the rate to offer, and the latency that its p99 has to hold.

    Raises:
        InputError: it would take longer than the preset allows; how long, and why.
    """
    queries = preset.queries[scenario]
    common = Settings(scenario, "performance", preset.seconds, queries, 0.99, samples, min(samples, LOADED), (1,))
    common = replace(common, logged_answers=LOGGED, warm_s=preset.warm_s, seed=seed)
    every = max(probe.per_s)
    if scenario == "SingleStream":
        query_s, made = probe.latency_p50_ms / 1e3, replace(common, percentile=0.9)
        made = replace(made, expected_latency_ms=FAST_LATENCY * probe.latency_p50_ms)
    elif scenario == "MultiStream":
        query_s = SAMPLES_PER_QUERY / probe.rate(SAMPLES_PER_QUERY)
        made = replace(common, samples_per_query=SAMPLES_PER_QUERY, sizes=probe.sizes(SAMPLES_PER_QUERY))
        made = replace(made, expected_latency_ms=FAST_LATENCY * 1e3 * query_s)
    elif scenario == "Server":
        query_s = 1 / (qps or probe.rate(every))
        made = replace(common, sizes=probe.sizes(every), expected_qps=1 / query_s, latency_bound_ms=bound_ms)
    else:
        query_s = 1 / probe.rate(every)
        made = replace(common, sizes=probe.sizes(every), expected_qps=FAST_RATE * probe.rate(every))
    if (most := _made(made) * SAMPLE_BYTES) > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2:
        raise InputError(
            f"{scenario} at {1 / query_s:.3g} queries a second makes LoadGen hold {most / 1e9:.0f} GB of them before "
            "the first is issued, which is more than half of this machine's memory",
            "leave --strict out" if preset.name == STRICT.name else "measure a larger network",
        )
    if (needed := queries * query_s) > preset.limit_s:
        raise InputError(
            f"{scenario} needs at least {queries} {'samples' if scenario == 'Offline' else 'queries'}, and at "
            f"{1e3 * query_s:.3g} ms each that takes {needed:.0f} s: no valid run within the {preset.limit_s:.0f} s "
            f"of the {preset.name} preset",
            _easier(scenario, preset),
        )
    return made


def _made(of: Settings) -> float:
    """Samples that LoadGen makes queries of: of twice the duration, at the expected rate."""
    rate = of.expected_qps or 1e3 * of.samples_per_query / (of.expected_latency_ms or 1.0)
    return max(of.min_query_count * of.samples_per_query, (1 if of.expected_qps else 2) * of.min_duration_s * rate)


def accuracy(of: Settings, probe: Probe) -> Settings:
    """The settings of the accuracy run beside a performance run: every sample once, at no more than its rate."""
    expected = of.expected_qps and min(of.expected_qps, probe.rate(max(probe.per_s)))
    return replace(of, mode="accuracy", min_duration_s=0.0, min_query_count=1, logged_answers=0, expected_qps=expected)


def repeated(preset: Preset, probe: Probe, samples: int, seed: int, same: bool) -> Settings:
    """A short run of single samples: always the same one, or distinct ones."""
    seconds, expected = preset.seconds / REPEATED, FAST_LATENCY * probe.latency_p50_ms
    return Settings("SingleStream", "performance", seconds, 20, 0.9, samples, samples, (1,), 1, expected,
                    same_sample=same, warm_s=preset.warm_s, seed=seed)  # fmt: skip


def parts(count: int, sizes: Sequence[int]) -> list[int]:
    """`count` samples in calls of these sizes, the largest first; the last of `sizes` is 1."""
    made = []
    for size in sizes:
        made += [size] * (count // size)
        count %= size
    return made


def _easier(scenario: Scenario, preset: Preset) -> str:
    if preset is not STRICT:
        return "use --strict, which allows an hour" + (", or SingleStream" if scenario != "SingleStream" else "")
    return "use a faster network" + (", or SingleStream" if scenario != "SingleStream" else "")
