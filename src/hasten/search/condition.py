"""A condition under which a comparison is a no: `p50>+5%`, `drop>0.01`, `speedup<1.5`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hasten.errors import InputError, UsageError, unknown

COLUMNS = {  # the word -> the column of a row
    "p50": "latency_p50_ms", "p90": "latency_p90_ms", "p99": "latency_p99_ms", "size": "size_mb", "params": "params",
    "macs": "macs", "memory": "peak_memory_mb", "throughput": "throughput_per_s", "accuracy": "accuracy",
    "drop": "accuracy_drop", "speedup": "speedup",
}  # fmt: skip
OF_THE_MACHINE = {"p50", "p90", "p99", "throughput", "memory"}
_SHAPE = re.compile(r"\s*([A-Za-z]\w*)\s*([<>])\s*([+-]?\d+(?:\.\d*)?)\s*(%?)\s*")


@dataclass(frozen=True)
class Condition:
    """`word > amount`, of each row's best engine; with %, relative to the same recipe in an earlier result."""

    word: str
    above: bool
    amount: float
    relative: bool

    def __str__(self) -> str:
        return f"{self.word}{'>' if self.above else '<'}" + (
            f"{self.amount:+g}%" if self.relative else f"{self.amount:g}"
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Raises:
            UsageError: no condition, or a word that is none of COLUMNS.
        """
        match = _SHAPE.fullmatch(text)
        if not match:
            raise UsageError(f"{text!r} is not a condition", "write p50>+5%, drop>0.01 or speedup<1.5")
        if match[1] not in COLUMNS:
            raise unknown("figure", match[1], COLUMNS)
        return cls(match[1], match[2] == ">", float(match[3]), bool(match[4]))

    def met(self, result: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
        """A sentence for each row of `result`, a comparison, on which the condition holds.

        Args:
            before: an earlier comparison; only what both have is compared.

        Raises:
            UsageError: the condition is relative, and there is none.
            InputError: it is of another machine, and the figure is the machine's.
        """
        if self.relative:
            if before is None:
                raise UsageError(f"{self} has nothing to be relative to", "add --against RESULT.json")
            here, there = (r["conditions"]["cpu"] for r in (result, before))
            if self.word in OF_THE_MACHINE and here != there:
                raise InputError(
                    f"the earlier result is of another machine ({there}), where {self.word} is another",
                    "compare speedup<-5% instead, or measure it again here",
                )
        found, old = _figures(result, COLUMNS[self.word]), _figures(before or {"rows": []}, COLUMNS[self.word])
        said = []
        for recipe, value in found.items():
            bound = self.amount
            if self.relative:
                if not old.get(recipe):
                    continue
                bound = old[recipe] * (1 + self.amount / 100)
            if (value > bound) if self.above else (value < bound):
                was = f", {old[recipe]:.4g} before" if self.relative else ""
                said.append(f"{recipe}: {self.word} is {value:.4g}{was} ({self})")
        return said


def _figures(result: Mapping[str, Any], column: str) -> dict[str, float]:
    """By recipe, of its best engine."""
    best = {r["recipe"]: r["trials"][r["best"]] for r in result["rows"] if r["best"] is not None}
    return {recipe: trial[column] for recipe, trial in best.items() if trial[column] is not None}
