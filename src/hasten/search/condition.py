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

    def check(self, before: Mapping[str, Any] | None, cpu: str) -> None:
        """See that it can be asked, before anything is measured.

        Args:
            before: an earlier comparison.
            cpu: of this machine.

        Raises:
            UsageError: the condition is relative, and there is none.
            InputError: it is of another machine, and the figure is the machine's.
        """
        if not self.relative:
            return
        if before is None:
            raise UsageError(f"{self} has nothing to be relative to", "add --against RESULT.json")
        there = before["conditions"]["cpu"]
        if self.word in OF_THE_MACHINE and cpu != there:
            raise InputError(
                f"the earlier result is of another machine ({there}), where {self.word} is another",
                "compare speedup<-5% instead, or measure it again here",
            )

    def met(self, result: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
        """A sentence for each row of `result`, a comparison, on which the condition holds.

        Args:
            before: an earlier comparison. A row of it that cannot be measured now, or is not there any more, is on the
                list too, and so is every row whose trials all failed: what is not known is no yes.

        Raises:
            UsageError, InputError: as `check`.
        """
        self.check(before, result["conditions"]["cpu"])
        found, old = _figures(result, COLUMNS[self.word]), _figures(before or {"rows": []}, COLUMNS[self.word])
        failed = {r["recipe"]: r["trials"][0]["reason"] for r in result["rows"] if r["trials"] and r["best"] is None}
        reasons = {r["recipe"]: r["reason"] for r in result["rows"]} | failed
        said = []
        for recipe, value in found.items():
            bound, was = self.amount, ""
            if self.relative:
                if recipe not in old:
                    continue
                bound = old[recipe] + abs(old[recipe]) * self.amount / 100
                was = f", {old[recipe]:.4g} before"
            if (value > bound) if self.above else (value < bound):
                said.append(f"{recipe}: {self.word} is {value:.4g}{was} ({self})")
        for recipe in [r for r in (old if self.relative else failed) if r not in found]:
            why, was = reasons.get(recipe, "it was not tried"), f", {old[recipe]:.4g} before" if self.relative else ""
            said.append(f"{recipe}: {self.word} is not known{why and f' ({why})'}{was} ({self})")
        return said


def _figures(result: Mapping[str, Any], column: str) -> dict[str, float]:
    """By recipe, of its best engine."""
    best = {r["recipe"]: r["trials"][r["best"]] for r in result["rows"] if r["best"] is not None}
    return {recipe: trial[column] for recipe, trial in best.items() if trial[column] is not None}
